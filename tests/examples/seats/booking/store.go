// Package booking keeps who has which seat: in Redis, so that any number of
// servers can sell the same show and none of them sells a seat twice.
package booking

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"
)

// What a caller can do something about.
var (
	ErrUnknown = errors.New("no such show or seat")
	ErrTaken   = errors.New("the seat is held or sold")
	ErrGone    = errors.New("the hold has expired or is somebody else's")
)

// Store keeps shows as a hash, seat to buyer ("" is unsold), and each hold as a
// key of its own, which Redis lets expire.
type Store struct{ pool *redis.Pool }

// NewStore returns a store of what is in the Redis at this address.
func NewStore(addr string) *Store {
	return &Store{&redis.Pool{
		MaxIdle: 16,
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialContext(ctx, "tcp", addr, redis.DialReadTimeout(2*time.Second))
		},
		// Redis may have been away since a connection was used.
		TestOnBorrowContext: func(ctx context.Context, conn redis.Conn, _ time.Time) error {
			_, err := redis.DoContext(conn, ctx, "PING")
			return err
		},
	}}
}

// Ping says whether Redis answers.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.do(ctx, func(conn redis.Conn) (any, error) { return conn.Do("PING") })
	return err
}

// Open puts the seats of a show on sale; those that are there stay as they are.
func (s *Store) Open(ctx context.Context, show string, seats []string) error {
	_, err := s.do(ctx, func(conn redis.Conn) (any, error) {
		for _, seat := range seats {
			if err := conn.Send("HSETNX", showKey(show), seat, ""); err != nil {
				return nil, err
			}
		}
		return conn.Do("")
	})
	return err
}

// One script, so that nothing comes between the look and the hold.
var hold = redis.NewScript(2, `
local buyer = redis.call('HGET', KEYS[1], ARGV[1])
if not buyer then return 'unknown' end
if buyer ~= '' or not redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return 'taken' end
return 'ok'`)

// Hold keeps a seat for a while and returns the token that it is bought or released with.
func (s *Store) Hold(ctx context.Context, show, seat string, keep time.Duration) (string, error) {
	token := rand.Text()
	return token, s.run(ctx, hold, showKey(show), holdKey(show, seat), seat, token, keep.Milliseconds())
}

var buy = redis.NewScript(2, `
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 'gone' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('DEL', KEYS[2])
return 'ok'`)

// Buy turns a hold into a sale.
func (s *Store) Buy(ctx context.Context, show, seat, token, buyer string) error {
	return s.run(ctx, buy, showKey(show), holdKey(show, seat), seat, token, buyer)
}

var release = redis.NewScript(1, `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'gone' end
redis.call('DEL', KEYS[1])
return 'ok'`)

// Release gives a hold up.
func (s *Store) Release(ctx context.Context, show, seat, token string) error {
	return s.run(ctx, release, holdKey(show, seat), token)
}

// Sold returns the buyers by seat.
func (s *Store) Sold(ctx context.Context, show string) (map[string]string, error) {
	seats, err := redis.StringMap(s.do(ctx, func(conn redis.Conn) (any, error) {
		return conn.Do("HGETALL", showKey(show))
	}))
	if err == nil && len(seats) == 0 {
		err = ErrUnknown
	}
	for seat, buyer := range seats {
		if buyer == "" {
			delete(seats, seat)
		}
	}
	return seats, err
}

func (s *Store) run(ctx context.Context, script *redis.Script, keysAndArgs ...any) error {
	said, err := redis.String(s.do(ctx, func(conn redis.Conn) (any, error) {
		return script.DoContext(ctx, conn, keysAndArgs...)
	}))
	switch {
	case err != nil:
		return err
	case said == "unknown":
		return ErrUnknown
	case said == "taken":
		return ErrTaken
	case said == "gone":
		return ErrGone
	}
	return nil
}

func (s *Store) do(ctx context.Context, what func(redis.Conn) (any, error)) (any, error) {
	conn, err := s.pool.GetContext(ctx)
	if err == nil {
		defer conn.Close()
		var said any
		if said, err = what(conn); err == nil {
			return said, nil
		}
	}
	return nil, fmt.Errorf("redis does not answer: %w", err)
}

func showKey(show string) string       { return "show:" + show }
func holdKey(show, seat string) string { return "hold:" + show + ":" + seat }
