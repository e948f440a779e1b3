package contextapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Tier is where an answer came from.
type Tier string

const (
	FromMemory   Tier = "memory"
	FromRedis    Tier = "redis"
	FromDatabase Tier = "database"
)

// CacheConfig is how much is kept and for how long. What is changed in the
// database without an invalidation is seen after MemoryTTL + RedisTTL at the latest.
type CacheConfig struct {
	Redis        redis.UniversalClient
	Prefix       string // of all keys, and of the channel of invalidations
	Capacity     int    // entries in memory; default 1000
	MemoryTTL    time.Duration
	RedisTTL     time.Duration
	RedisTimeout time.Duration // after which an answer is got without Redis; default 500 ms
	LoadTimeout  time.Duration // default 10 s
	Now          func() time.Time
	Fault        Fault
}

// CacheStats count what readers met. A load that several of them share is
// counted once, with the others in Joined.
type CacheStats struct {
	MemoryHits, MemoryMisses int64
	RedisHits, RedisMisses   int64
	RedisErrors              int64
	Joined                   int64
}

// Cache keeps answers as JSON, so that no two readers share a value.
type Cache struct {
	cfg        CacheConfig
	memory     *lru
	flights    flights
	generation atomic.Int64 // one more with every invalidation

	memoryHits, memoryMisses, redisHits, redisMisses, redisErrors, joined atomic.Int64
}

// NewRedis is a client that does not make its readers wait for a Redis that is
// gone: by itself go-redis dials five times, and does not heed deadlines.
func NewRedis(addr string, db int) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: addr, DB: db, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
	})
}

func NewCache(cfg CacheConfig) *Cache {
	cfg.Capacity = orDefault(cfg.Capacity, 1000)
	cfg.MemoryTTL = orDefault(cfg.MemoryTTL, 30*time.Second)
	cfg.RedisTTL = orDefault(cfg.RedisTTL, 5*time.Minute)
	cfg.RedisTimeout = orDefault(cfg.RedisTimeout, 500*time.Millisecond)
	cfg.LoadTimeout = orDefault(cfg.LoadTimeout, 10*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Cache{cfg: cfg, memory: newLRU(cfg.Capacity, cfg.MemoryTTL, cfg.Now)}
}

func orDefault[T comparable](value, unset T) T {
	var zero T
	if value == zero {
		return unset
	}
	return value
}

func (c *Cache) Stats() CacheStats {
	return CacheStats{
		MemoryHits: c.memoryHits.Load(), MemoryMisses: c.memoryMisses.Load(),
		RedisHits: c.redisHits.Load(), RedisMisses: c.redisMisses.Load(),
		RedisErrors: c.redisErrors.Load(), Joined: c.joined.Load(),
	}
}

// Len is the number of entries in memory.
func (c *Cache) Len() int { return c.memory.len() }

// Ping says whether Redis can be reached.
func (c *Cache) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RedisTimeout)
	defer cancel()
	return c.cfg.Redis.Ping(ctx).Err()
}

// RedisKey is what an entry is called in Redis.
func (c *Cache) RedisKey(key string) string { return c.cfg.Prefix + ":context:" + key }

// PageKey is what a page of actions is called in Redis.
func (c *Cache) PageKey(q Query) string { return c.RedisKey(q.pageKey(c.cfg.Fault)) }

// through reads key from the nearest tier that has it, and puts what load returns
// into all of them. An error is not kept.
func through[T any](ctx context.Context, c *Cache, key string, load func(ctx context.Context) (T, error)) (T, Tier, error) {
	var value T
	body, tier, err := c.read(ctx, key, func(ctx context.Context) ([]byte, error) {
		loaded, err := load(ctx)
		if err != nil {
			return nil, err
		}
		return json.Marshal(loaded)
	})
	if err != nil {
		return value, tier, err
	}
	return value, tier, json.Unmarshal(body, &value)
}

func (c *Cache) read(ctx context.Context, key string, load func(ctx context.Context) ([]byte, error)) ([]byte, Tier, error) {
	if body, ok := c.memory.get(key); ok {
		c.memoryHits.Add(1)
		return body, FromMemory, nil
	}
	c.memoryMisses.Add(1)
	generation := c.generation.Load()
	behindMemory := func(ctx context.Context) ([]byte, Tier, error) {
		ctx, cancel := context.WithTimeout(ctx, c.cfg.LoadTimeout)
		defer cancel()
		return c.behindMemory(ctx, key, generation, load)
	}
	if c.cfg.Fault == Stampede {
		return behindMemory(ctx)
	}
	// Who asks after an invalidation must not be given what was read before it.
	flight := fmt.Sprintf("%d %s", generation, key)
	return c.flights.do(ctx, flight, func() { c.joined.Add(1) }, behindMemory)
}

func (c *Cache) behindMemory(ctx context.Context, key string, generation int64, load func(ctx context.Context) ([]byte, error)) ([]byte, Tier, error) {
	// The flight before this one may have landed since memory was looked at.
	if body, ok := c.memory.get(key); ok && c.cfg.Fault != Stampede {
		return body, FromMemory, nil
	}
	body, err := c.fromRedis(ctx, key)
	if err != nil && c.cfg.Fault == NeedRedis {
		return nil, "", err
	}
	if body != nil {
		c.keep(ctx, generation, key, body, FromRedis)
		return body, FromRedis, nil
	}
	if body, err = load(ctx); err != nil {
		return nil, "", err
	}
	c.keep(ctx, generation, key, body, FromDatabase)
	return body, FromDatabase, nil
}

// keep leaves out what was read before an invalidation, and takes it back when
// that comes while it is put.
func (c *Cache) keep(ctx context.Context, generation int64, key string, body []byte, from Tier) {
	if c.generation.Load() != generation {
		return
	}
	c.memory.put(key, body)
	if from == FromDatabase {
		c.toRedis(ctx, key, body)
	}
	if c.generation.Load() != generation {
		c.memory.drop(func(k string) bool { return k == key })
		_ = c.cfg.Redis.Unlink(ctx, c.RedisKey(key)).Err()
	}
}

func (c *Cache) fromRedis(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RedisTimeout)
	defer cancel()
	body, err := c.cfg.Redis.Get(ctx, c.RedisKey(key)).Bytes()
	switch {
	case errors.Is(err, redis.Nil) || err == nil && !json.Valid(body):
		c.redisMisses.Add(1)
		return nil, nil
	case err != nil:
		c.redisErrors.Add(1)
		return nil, err
	}
	c.redisHits.Add(1)
	return body, nil
}

func (c *Cache) toRedis(ctx context.Context, key string, body []byte) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RedisTimeout)
	defer cancel()
	if c.cfg.Redis.Set(ctx, c.RedisKey(key), body, c.cfg.RedisTTL).Err() != nil {
		c.redisErrors.Add(1)
	}
}
