package datastorage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/kubernaut/workspace/internal/config"
	"github.com/kubernaut/workspace/pkg/audit"
)

const (
	redisTimeout = time.Second
	eventField   = "event"
)

var errQueueFull = errors.New("the queue is full")

// Queue is a Redis stream of events that wait for PostgreSQL.
type Queue struct {
	client *redis.Client
	stream string
	maxLen int64
}

// Queued is an event and its place in the queue.
type Queued struct {
	Entry string
	Event audit.Event
	Raw   string // what cannot be read is kept as it is
	Err   error
}

// redisLog keeps go-redis from writing lines of its own to stderr.
type redisLog struct{}

func (redisLog) Printf(ctx context.Context, format string, args ...any) {
	slog.DebugContext(ctx, fmt.Sprintf(format, args...))
}

// OpenQueue pings Redis once, and does not try again.
func OpenQueue(ctx context.Context, cfg config.Redis) (*Queue, error) {
	redis.SetLogger(redisLog{})
	client := redis.NewClient(&redis.Options{
		Addr:                  cfg.Addr,
		DB:                    cfg.DB,
		Password:              cfg.Password,
		DialTimeout:           redisTimeout,
		ReadTimeout:           redisTimeout,
		WriteTimeout:          redisTimeout,
		PoolTimeout:           redisTimeout,
		DialerRetries:         1,
		MaxRetries:            -1,
		ContextTimeoutEnabled: true,
	})
	q := &Queue{client: client, stream: cfg.DLQStreamName, maxLen: cfg.DLQMaxLen}
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	if err := client.Ping(ctx).Err(); err != nil {
		client.Close()
		return nil, fmt.Errorf("Redis at %s: %w", cfg.Addr, err)
	}
	return q, nil
}

func (q *Queue) Close() error { return q.client.Close() }

// Add queues an event. A full queue refuses it: trimming would throw away events
// that were accepted. Concurrent calls may exceed the limit by a few.
func (q *Queue) Add(ctx context.Context, e audit.Event) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	length, err := q.client.XLen(ctx, q.stream).Result()
	if err != nil {
		return err
	}
	if length >= q.maxLen {
		return errQueueFull
	}
	return q.client.XAdd(ctx, &redis.XAddArgs{Stream: q.stream, Values: []any{eventField, body}}).Err()
}

// Peek returns the oldest entries.
func (q *Queue) Peek(ctx context.Context, count int64) ([]Queued, error) {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	entries, err := q.client.XRangeN(ctx, q.stream, "-", "+", count).Result()
	if err != nil {
		return nil, err
	}
	queued := make([]Queued, len(entries))
	for i, entry := range entries {
		raw, _ := entry.Values[eventField].(string)
		queued[i] = Queued{Entry: entry.ID, Raw: raw}
		queued[i].Err = json.Unmarshal([]byte(raw), &queued[i].Event)
	}
	return queued, nil
}

// Remove drops an entry whose event is stored.
func (q *Queue) Remove(ctx context.Context, entry string) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	return q.client.XDel(ctx, q.stream, entry).Err()
}

// SetAside moves an entry that PostgreSQL refuses to the stream "<name>:rejected",
// where it does not hold up the others and a person can look at it.
func (q *Queue) SetAside(ctx context.Context, queued Queued, reason error) error {
	ctx, cancel := context.WithTimeout(ctx, redisTimeout)
	defer cancel()
	_, err := q.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.XAdd(ctx, &redis.XAddArgs{
			Stream: q.stream + ":rejected",
			Values: []any{eventField, queued.Raw, "reason", reason.Error()},
		})
		p.XDel(ctx, q.stream, queued.Entry)
		return nil
	})
	return err
}
