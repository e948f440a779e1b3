package notification

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/redis/go-redis/v9"
)

// Deduplicator remembers in Redis what was sent, so that one incident does not
// ring twice within Window, whichever replica sees it.
type Deduplicator struct {
	Redis  redis.Cmdable
	Window time.Duration
}

// Claim says whether the caller is the first to send n within the window.
func (d *Deduplicator) Claim(ctx context.Context, n Notification) (bool, error) {
	return d.Redis.SetNX(ctx, DedupKey(n), n.ID, d.Window).Result()
}

// Release lets n be sent again.
func (d *Deduplicator) Release(ctx context.Context, n Notification) error {
	return d.Redis.Del(ctx, DedupKey(n)).Err()
}

// DedupKey is the same for notifications that tell a person the same thing.
func DedupKey(n Notification) string {
	hash := sha256.New()
	for _, part := range []string{n.CorrelationID, n.Channel, n.Subject, n.Body} {
		hash.Write([]byte(part))
		hash.Write([]byte{0})
	}
	return "notification:dedup:" + hex.EncodeToString(hash.Sum(nil))
}
