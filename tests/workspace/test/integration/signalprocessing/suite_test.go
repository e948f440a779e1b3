// Package signalprocessing_test is the Signal Processing team's suite: windows in
// a real Redis, trails in a real DataStorage. The cluster and the service that
// takes the signals are the spec's own.
package signalprocessing_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/redis/go-redis/v9"

	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/fault"
	signals "github.com/kubernaut/workspace/pkg/signalprocessing"
	. "github.com/kubernaut/workspace/test/support"
)

var (
	storage Storage
	cache   *redis.Client
	broken  string
)

func TestSignalProcessing(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Signal processing integration")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	var err error
	broken, err = fault.Named("SIGNALPROCESSING_FAULT", signals.Faults...)
	Expect(err).NotTo(HaveOccurred())
	storage = Storage{URL: Required("DATA_STORAGE_URL")}
	cache = redis.NewClient(&redis.Options{Addr: Required("REDIS_ADDR")})
	DeferCleanup(cache.Close)
	storage.WaitUntilHealthy(ctx)
})

// cluster has what it is told; every pod belongs to the deployment that it is
// named after.
type cluster struct {
	labels map[string]string // of every namespace
	err    error
}

func (c *cluster) Lookup(_ context.Context, _, kind, object string) (signals.Context, error) {
	if c.err != nil {
		return signals.Context{}, c.err
	}
	found := signals.Context{NamespaceLabels: c.labels, Team: "payments"}
	if deployment, _, isPod := strings.Cut(object, "-"); isPod && kind == "pod" {
		found.Owner = "deployment/" + deployment
	}
	return found, nil
}

// sink keeps what it takes.
type sink struct {
	mu    sync.Mutex
	taken []signals.Processed
	errs  []error // of the first it is given
	given int
}

func (s *sink) Take(_ context.Context, p signals.Processed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given++
	if s.given <= len(s.errs) {
		return s.errs[s.given-1]
	}
	s.taken = append(s.taken, p)
	return nil
}

// processor is one replica of the service.
type processor struct {
	*signals.Processor
	cluster *cluster
	sink    *sink
	client  *audit.Client
}

func newProcessor() *processor {
	GinkgoHelper()
	return newProcessorWith(signals.RedisWindow{Redis: cache, Length: time.Minute})
}

func newProcessorWith(window signals.Window) *processor {
	GinkgoHelper()
	p := &processor{cluster: &cluster{}, sink: &sink{}, client: NewAuditClient(storage.URL, func(*audit.Config) {})}
	DeferCleanup(p.client.Close)
	p.Processor = &signals.Processor{
		Cluster: p.cluster, Classify: signals.Classify, Window: window, Sink: p.sink, Audit: p.client, Now: time.Now,
	}
	p.Break(broken)
	return p
}

// newSignal is of an incident of its own, in a namespace of its own.
func newSignal() signals.Signal {
	return signals.Signal{
		ID: UniqueID("signal"), Source: "prometheus", Name: "HighMemoryUsage", Severity: "critical",
		Namespace: UniqueID("shop-prod"), Kind: "pod", Object: "web-7d9f", Starts: time.Now(),
	}
}

// again is s said once more: another delivery of the same incident.
func again(s signals.Signal) signals.Signal {
	s.ID = UniqueID("signal")
	return s
}

func (p *processor) process(ctx context.Context, s signals.Signal) signals.Processed {
	GinkgoHelper()
	done, err := p.Process(ctx, s)
	Expect(err).NotTo(HaveOccurred())
	return done
}

// trail of a signal, oldest first, when everything is written.
func (p *processor) trail(ctx context.Context, s signals.Signal) []audit.Event {
	GinkgoHelper()
	Expect(CloseInTime(ctx, p.client)).To(Succeed())
	return storage.Trail(ctx, s.ID)
}

func actions(trail []audit.Event) []string {
	names := make([]string, len(trail))
	for i, e := range trail {
		names[i] = e.Action
	}
	return names
}

func data(e audit.Event) map[string]any {
	GinkgoHelper()
	var values map[string]any
	Expect(json.Unmarshal(e.Data, &values)).To(Succeed())
	return values
}
