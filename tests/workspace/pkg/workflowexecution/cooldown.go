package workflowexecution

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Cooldown leaves a target alone after an execution: Base after one that
// worked, twice as long with each failure in a row, at most Max. A Base of zero
// is none.
type Cooldown struct {
	Redis redis.UniversalClient
	Base  time.Duration
	Max   time.Duration
}

// CooldownKey exists while a target is left alone.
func CooldownKey(name string) string { return "workflowexecution:cooldown:" + name }

func failuresKey(name string) string { return "workflowexecution:failures:" + name }

// Wait is how long a target is left alone after a number of failures in a row.
func (c Cooldown) Wait(failures int64) time.Duration {
	wait := c.Base
	for ; failures > 0 && wait < c.Max; failures-- {
		wait *= 2
	}
	return min(wait, c.Max)
}

// Left is how long a target is still left alone, zero if it is not.
func (c Cooldown) Left(ctx context.Context, name string) (time.Duration, error) {
	left, err := c.Redis.PTTL(ctx, CooldownKey(name)).Result()
	return max(left, 0), err
}

// Start begins after an execution that worked or failed.
func (c Cooldown) Start(ctx context.Context, name string, failed bool) error {
	if c.Base == 0 {
		return nil
	}
	failures, err := c.count(ctx, name, failed)
	if err != nil {
		return err
	}
	return c.Redis.Set(ctx, CooldownKey(name), failures, c.Wait(failures)).Err()
}

func (c Cooldown) count(ctx context.Context, name string, failed bool) (int64, error) {
	if !failed {
		return 0, c.Redis.Del(ctx, failuresKey(name)).Err()
	}
	failures, err := c.Redis.Incr(ctx, failuresKey(name)).Result()
	if err != nil {
		return 0, err
	}
	// A day without a failure is a new start.
	return failures, c.Redis.Expire(ctx, failuresKey(name), 24*time.Hour).Err()
}
