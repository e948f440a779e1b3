// Package datastorage_test is the owner's view of DataStorage: the contract of
// each endpoint, and what becomes of events while PostgreSQL or Redis is gone.
// It knows the stack by its environment alone and starts nothing.
package datastorage_test

import (
	"context"
	"encoding/json"
	"net/http"
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
	storage  Storage
	metrics  Storage // on a port of their own
	database *pgxpool.Pool
	cache    *redis.Client
)

func TestDataStorage(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "DataStorage integration")
}

var _ = SynchronizedBeforeSuite(func(ctx SpecContext) {
	// A run that was killed in the middle of an outage has left it behind.
	cache = redis.NewClient(&redis.Options{Addr: Required("REDIS_ADDR")})
	DeferCleanup(cache.Close)
	allowConnections(ctx, OpenDatabase(ctx, "postgres"), true)
	Expect(cache.ConfigSet(ctx, "maxmemory", "0").Err()).To(Succeed())
}, func(ctx SpecContext) {
	storage = Storage{URL: Required("DATA_STORAGE_URL")}
	metrics = Storage{URL: Required("DATA_STORAGE_METRICS_URL")}
	database = OpenDatabase(ctx, Required("POSTGRES_DB"))
	cache = redis.NewClient(&redis.Options{Addr: Required("REDIS_ADDR")})
	DeferCleanup(cache.Close)
	Eventually(ctx, status).WithArguments("/health").WithTimeout(30*time.Second).
		Should(Equal(http.StatusOK), "DataStorage at %s is not healthy", storage.URL)
})

// status is 0 where there is no answer.
func status(ctx context.Context, path string) int {
	resp, err := storage.Try(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return 0
	}
	return resp.Status
}

// newEvent is valid, and of a correlation id that no other spec has.
func newEvent() audit.Event {
	return audit.Event{
		ID:            uuid.NewString(),
		Version:       audit.Version,
		Type:          "gateway.signal.received",
		Timestamp:     time.Now().UTC().Truncate(time.Microsecond),
		Category:      "gateway",
		Action:        "received",
		Outcome:       "success",
		CorrelationID: UniqueID("datastorage"),
		Data:          []byte(`{"fingerprint": "3f1b"}`),
	}
}

// series is n events of one correlation id a millisecond apart, the last one now.
func series(n int) []audit.Event {
	last := newEvent()
	events := make([]audit.Event, n)
	for i := range events {
		events[i] = last
		events[i].ID = uuid.NewString()
		events[i].Timestamp = last.Timestamp.Add(time.Duration(i-n+1) * time.Millisecond)
	}
	return events
}

// loose is a valid event as JSON in which a member can be what Go's types would
// not let it; nil leaves it out.
func loose(member string, value any) map[string]any {
	GinkgoHelper()
	text, err := json.Marshal(newEvent())
	Expect(err).NotTo(HaveOccurred())
	var event map[string]any
	Expect(json.Unmarshal(text, &event)).To(Succeed())
	event[member] = value
	if value == nil {
		delete(event, member)
	}
	return event
}

func ids(events ...audit.Event) []string { return Page{Data: events}.IDs() }

// stored reads the events of e's correlation id.
func stored(ctx context.Context, e audit.Event) Page {
	GinkgoHelper()
	return storage.Find(ctx, "correlation_id", e.CorrelationID)
}

// one reads a single value.
func one[T any](ctx context.Context, pool *pgxpool.Pool, query string, args ...any) T {
	GinkgoHelper()
	var value T
	Expect(pool.QueryRow(ctx, query, args...).Scan(&value)).To(Succeed())
	return value
}
