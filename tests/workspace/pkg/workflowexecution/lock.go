package workflowexecution

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrLockLost is why an execution is cancelled whose lock another one has.
var ErrLockLost = errors.New("another execution has the lock")

// Locks gives a target to one execution at a time, whichever replica runs it.
type Locks interface {
	// Acquire says who has the lock when it is somebody else.
	Acquire(ctx context.Context, name, owner string, ttl time.Duration) (holder string, err error)
	// Renew is ErrLockLost when the lock is not the owner's.
	Renew(ctx context.Context, name, owner string, ttl time.Duration) error
	// Release does nothing when the lock is not the owner's.
	Release(ctx context.Context, name, owner string) error
}

// RedisLocks are Locks; that of a process which died ends with its time to live.
type RedisLocks struct{ Redis redis.UniversalClient }

// LockKey is where the owner of a lock stands.
func LockKey(name string) string { return "workflowexecution:lock:" + name }

// In one step each: between looking and doing the lock might change hands.
var (
	acquire = redis.NewScript(`
		if redis.call("set", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) then return "" end
		return redis.call("get", KEYS[1])`)
	renew = redis.NewScript(`
		if redis.call("get", KEYS[1]) ~= ARGV[1] then return 0 end
		return redis.call("pexpire", KEYS[1], ARGV[2])`)
	release = redis.NewScript(`
		if redis.call("get", KEYS[1]) ~= ARGV[1] then return 0 end
		return redis.call("del", KEYS[1])`)
)

func (l RedisLocks) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (string, error) {
	return acquire.Run(ctx, l.Redis, []string{LockKey(name)}, owner, ttl.Milliseconds()).Text()
}

func (l RedisLocks) Renew(ctx context.Context, name, owner string, ttl time.Duration) error {
	renewed, err := renew.Run(ctx, l.Redis, []string{LockKey(name)}, owner, ttl.Milliseconds()).Bool()
	if err == nil && !renewed {
		return ErrLockLost
	}
	return err
}

func (l RedisLocks) Release(ctx context.Context, name, owner string) error {
	return release.Run(ctx, l.Redis, []string{LockKey(name)}, owner).Err()
}
