// Package notification_test is the Notification team's view of DataStorage. It
// knows the stack by its environment alone and starts nothing.
package notification_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/redis/go-redis/v9"

	"github.com/kubernaut/workspace/pkg/audit"
)

var (
	storage    api
	metricsURL string
	database   *pgxpool.Pool
	cache      *redis.Client
)

func TestNotification(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Notification integration")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	storage = api{url: required("DATA_STORAGE_URL")}
	metricsURL = required("DATA_STORAGE_METRICS_URL")
	database = openDatabase(ctx)
	cache = redis.NewClient(&redis.Options{Addr: required("REDIS_ADDR")})
	DeferCleanup(cache.Close)

	Eventually(ctx, func() (int, error) {
		resp, err := storage.try(ctx, http.MethodGet, "/health", "", nil)
		return resp.Status, err
	}, "30s").Should(Equal(http.StatusOK), "DataStorage at %s is not healthy", storage.url)
})

// required reads the environment. A suite that skipped for want of it would be
// green and have tested nothing.
func required(name string) string {
	GinkgoHelper()
	value := os.Getenv(name)
	if value == "" {
		Fail(fmt.Sprintf("%s is not set: this suite runs against a stack that is up already and learns where from its environment.", name))
	}
	return value
}

func openDatabase(ctx context.Context) *pgxpool.Pool {
	GinkgoHelper()
	dsn := url.URL{
		Scheme: "postgres",
		User:   url.UserPassword(required("POSTGRES_USER"), required("POSTGRES_PASSWORD")),
		Host:   net.JoinHostPort(required("POSTGRES_HOST"), required("POSTGRES_PORT")),
		Path:   required("POSTGRES_DB"),
	}
	pool, err := pgxpool.New(ctx, dsn.String())
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(pool.Close)
	return pool
}

// uniqueID keeps a spec's data apart from that of all others.
func uniqueID() string { return "notification-" + uuid.NewString() }

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
	cfg := audit.Config{URL: storage.url, FlushInterval: 20 * time.Millisecond, Backoff: 5 * time.Millisecond}
	change(&cfg)
	client, err := audit.NewClient(cfg)
	Expect(err).NotTo(HaveOccurred())
	return client
}

func closeInTime(ctx context.Context, client *audit.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return client.Close(ctx)
}

// inParallel runs f n times at once and returns when all have ended, failed or not.
func inParallel(n int, f func()) {
	var running sync.WaitGroup
	running.Add(n)
	for range n {
		go func() {
			defer running.Done()
			defer GinkgoRecover()
			f()
		}()
	}
	running.Wait()
}
