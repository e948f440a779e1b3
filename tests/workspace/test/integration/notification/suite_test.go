// Package notification_test is the Notification team's view of DataStorage. It
// knows the stack by its environment alone and starts nothing.
package notification_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/redis/go-redis/v9"

	"github.com/kubernaut/workspace/pkg/audit"
	. "github.com/kubernaut/workspace/test/support"
)

var (
	storage    Storage
	metricsURL string
	database   *pgxpool.Pool
	cache      *redis.Client
)

func TestNotification(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Notification integration")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	storage = Storage{URL: Required("DATA_STORAGE_URL")}
	metricsURL = Required("DATA_STORAGE_METRICS_URL")
	database = OpenDatabase(ctx, Required("POSTGRES_DB"))
	cache = redis.NewClient(&redis.Options{Addr: Required("REDIS_ADDR")})
	DeferCleanup(cache.Close)
	storage.WaitUntilHealthy(ctx)
})

// uniqueID keeps a spec's data apart from that of all others.
func uniqueID() string { return UniqueID("notification") }

// newEvent is valid; specs change what they are about.
func newEvent(correlationID string) audit.Event {
	return audit.Event{
		ID:            uuid.NewString(),
		Version:       audit.Version,
		Type:          "notification.message.sent",
		Timestamp:     time.Now().UTC().Truncate(time.Microsecond),
		Category:      "notification",
		Action:        "sent",
		Outcome:       "success",
		CorrelationID: correlationID,
		Data:          []byte(`{"channel": "slack"}`),
	}
}

func newClient(change func(*audit.Config)) *audit.Client {
	GinkgoHelper()
	return NewAuditClient(storage.URL, change)
}
