// Package contextapi_test exercises contextapi with PostgreSQL and Redis. Each
// parallel process has a database, a Redis database, a range of numbers and a
// name of its own, and empties its tables before every spec. It knows the stack
// by its environment alone and starts nothing.
package contextapi_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/redis/go-redis/v9"

	"github.com/kubernaut/workspace/pkg/contextapi"
	. "github.com/kubernaut/workspace/test/support"
)

// rangeSize is how many numbers belong to a worker, from its offset on.
const rangeSize = 100_000

var (
	database  *pgxpool.Pool
	cache     *redis.Client
	offset    int
	namespace string
	broken    contextapi.Fault
)

func TestContextAPI(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Context API integration")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	// Specs provoke errors; what is logged of them is for those that fail.
	log.SetOutput(GinkgoWriter)
	redis.SetLogger(logger{})
	var err error
	broken, err = contextapi.FaultNamed()
	Expect(err).NotTo(HaveOccurred())
	database = OpenDatabase(ctx, OfWorker("POSTGRES_DB"))
	cache = contextapi.NewRedis(Required("REDIS_ADDR"), number(OfWorker("REDIS_DB")))
	DeferCleanup(cache.Close)
	offset = number(OfWorker("CACHE_OFFSET"))
	namespace = OfWorker("NAMESPACE")
})

type logger struct{}

func (logger) Printf(_ context.Context, format string, values ...any) { log.Printf(format, values...) }

// TRUNCATE would leave the sequence where it is; RESTART would put it to 1, as
// in every other worker's database.
var _ = BeforeEach(func(ctx SpecContext) {
	_, err := database.Exec(ctx, `TRUNCATE resource_references CASCADE`)
	Expect(err).NotTo(HaveOccurred())
	_, err = database.Exec(ctx, `SELECT setval('action_traces_id_seq', $1)`, offset+1)
	Expect(err).NotTo(HaveOccurred())
})

func number(text string) int {
	GinkgoHelper()
	n, err := strconv.Atoi(text)
	Expect(err).NotTo(HaveOccurred())
	return n
}

// ofOthers are the values that the other workers have of a variable, by its
// whole name.
func ofOthers(name string) map[string]string {
	others := map[string]string{}
	mine := fmt.Sprintf("%s_%d", name, GinkgoParallelProcess())
	for _, variable := range os.Environ() {
		key, value, _ := strings.Cut(variable, "=")
		worker, ok := strings.CutPrefix(key, name+"_")
		if _, err := strconv.Atoi(worker); ok && err == nil && key != mine {
			others[key] = value
		}
	}
	return others
}

// replica is the service as one process has it: caches and an API of its own.
type replica struct {
	*contextapi.Service
	source *watched
	api    Storage
}

// prefix is a part of Redis that nobody else has.
func prefix() string { return UniqueID(namespace) }

// newReplica reads this worker's database and shares what is under its prefix
// in Redis.
func newReplica(prefix string, changes ...func(*contextapi.CacheConfig)) *replica {
	GinkgoHelper()
	cfg := contextapi.CacheConfig{Redis: cache, Prefix: prefix, Fault: broken, RedisTimeout: 5 * time.Second}
	for _, change := range changes {
		change(&cfg)
	}
	source := &watched{Source: &contextapi.Store{Pool: database, Fault: broken}}
	service := &contextapi.Service{Source: source, Cache: contextapi.NewCache(cfg)}
	server := httptest.NewServer(service.Handler())
	DeferCleanup(server.Close)
	return &replica{Service: service, source: source, api: Storage{URL: server.URL}}
}

// page reads actions, and from which tier.
func (r *replica) page(ctx context.Context, q contextapi.Query) (contextapi.Page, contextapi.Tier) {
	GinkgoHelper()
	page, tier, err := r.Actions(ctx, q)
	Expect(err).NotTo(HaveOccurred())
	return page, tier
}

// tier is where a page comes from.
func (r *replica) tier(ctx context.Context, q contextapi.Query) contextapi.Tier {
	GinkgoHelper()
	_, tier := r.page(ctx, q)
	return tier
}
