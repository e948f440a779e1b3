package signalprocessing

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// Window tells the first signal of an incident from its repetitions.
type Window interface {
	// Enter counts a signal. It is new when it is the first of the window, or
	// more urgent than all before it.
	Enter(ctx context.Context, fingerprint string, priority int) (count int64, isNew bool, err error)
	// Leave forgets the incident.
	Leave(ctx context.Context, fingerprint string) error
}

// RedisWindow is a Window that all replicas share. It begins with the first
// signal; repetitions do not make it longer.
type RedisWindow struct {
	Redis  redis.UniversalClient
	Length time.Duration
}

// WindowKey exists while the window of an incident is open.
func WindowKey(fingerprint string) string { return "signalprocessing:window:" + fingerprint }

// In one step: of signals that arrive at once, one is the first.
var enter = redis.NewScript(`
	local worst = redis.call("hget", KEYS[1], "priority")
	local count = redis.call("hincrby", KEYS[1], "count", 1)
	if count == 1 then redis.call("pexpire", KEYS[1], ARGV[2]) end
	if worst and tonumber(worst) <= tonumber(ARGV[1]) then return {count, 0} end
	redis.call("hset", KEYS[1], "priority", ARGV[1])
	return {count, 1}`)

func (w RedisWindow) Enter(ctx context.Context, fingerprint string, priority int) (int64, bool, error) {
	answer, err := enter.Run(ctx, w.Redis, []string{WindowKey(fingerprint)}, priority, w.Length.Milliseconds()).Int64Slice()
	if err != nil {
		return 0, false, err
	}
	return answer[0], answer[1] == 1, nil
}

func (w RedisWindow) Leave(ctx context.Context, fingerprint string) error {
	return w.Redis.Del(ctx, WindowKey(fingerprint)).Err()
}
