// Package workflowexecution_test is the Workflow Execution team's suite: locks
// and cooldowns in a real Redis, trails in a real DataStorage. The engine that
// would run workflows in a cluster is scripted.
package workflowexecution_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/redis/go-redis/v9"

	"github.com/kubernaut/workspace/pkg/audit"
	"github.com/kubernaut/workspace/pkg/fault"
	execution "github.com/kubernaut/workspace/pkg/workflowexecution"
	. "github.com/kubernaut/workspace/test/support"
)

var (
	storage Storage
	cache   *redis.Client
	broken  string
)

func TestWorkflowExecution(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Workflow execution integration")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	var err error
	broken, err = fault.Named("WORKFLOWEXECUTION_FAULT", execution.Faults...)
	Expect(err).NotTo(HaveOccurred())
	storage = Storage{URL: Required("DATA_STORAGE_URL")}
	cache = redis.NewClient(&redis.Options{Addr: Required("REDIS_ADDR")})
	DeferCleanup(cache.Close)
	storage.WaitUntilHealthy(ctx)
})

var errTask = errors.New("task restart: exit code 1")

// engine does with an order what its script says, and ends at once with all others.
type engine struct {
	mu      sync.Mutex
	scripts map[string]func(context.Context) error // by the order's id
	orders  []execution.Order
}

func (e *engine) Run(ctx context.Context, order execution.Order) error {
	e.mu.Lock()
	e.orders = append(e.orders, order)
	script := e.scripts[order.ID]
	e.mu.Unlock()
	if script == nil {
		return nil
	}
	return script(ctx)
}

// executor is one replica of the service.
type executor struct {
	*execution.Executor
	engine *engine
	client *audit.Client
}

func newExecutor(change func(*execution.Executor, *audit.Config)) *executor {
	GinkgoHelper()
	x := &executor{engine: &engine{scripts: map[string]func(context.Context) error{}}}
	x.Executor = &execution.Executor{
		Engine: x.engine, Locks: execution.RedisLocks{Redis: cache}, Cooldown: execution.Cooldown{Redis: cache},
		Events: execution.EventsOf, Now: time.Now,
		Deadline: 10 * time.Second, LockTTL: 30 * time.Second, Renewal: 10 * time.Millisecond,
	}
	x.client = NewAuditClient(storage.URL, func(c *audit.Config) { change(x.Executor, c) })
	DeferCleanup(x.client.Close)
	x.Audit = x.client
	x.Break(broken)
	return x
}

func plain(*execution.Executor, *audit.Config) {}

// cooling leaves a target alone for a minute, after failures for up to ten.
func cooling(x *execution.Executor, _ *audit.Config) {
	x.Cooldown.Base, x.Cooldown.Max = time.Minute, 10*time.Minute
}

func newTarget() string { return UniqueID("prod") + "/deployment/web" }

func newOrder(target string) execution.Order {
	return execution.Order{ID: UniqueID("order"), CorrelationID: UniqueID("remediation"), Target: target, Workflow: "restart"}
}

func (x *executor) execute(ctx context.Context, order execution.Order) execution.Execution {
	GinkgoHelper()
	e, err := x.Execute(ctx, order)
	Expect(err).NotTo(HaveOccurred())
	return e
}

// fail executes an order whose workflow fails.
func (x *executor) fail(ctx context.Context, order execution.Order, err error) execution.Execution {
	GinkgoHelper()
	x.engine.scripts[order.ID] = func(context.Context) error { return err }
	return x.execute(ctx, order)
}

// occupy executes an order whose workflow does not end before release, which
// returns what became of it.
func (x *executor) occupy(ctx context.Context, order execution.Order) (release func() execution.Execution) {
	GinkgoHelper()
	running, end := make(chan struct{}), make(chan struct{})
	x.engine.scripts[order.ID] = func(ctx context.Context) error {
		close(running)
		select {
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ended := x.begin(ctx, order)
	Eventually(ctx, running, "10s").Should(BeClosed())
	release = sync.OnceValue(func() execution.Execution {
		close(end)
		return <-ended
	})
	DeferCleanup(func() { release() })
	return release
}

// runUntilStopped executes an order whose workflow ends only with its context;
// wait returns what became of it.
func (x *executor) runUntilStopped(ctx context.Context, order execution.Order) (wait func() execution.Execution) {
	GinkgoHelper()
	running := make(chan struct{})
	x.engine.scripts[order.ID] = func(ctx context.Context) error {
		close(running)
		<-ctx.Done()
		return ctx.Err()
	}
	ended := x.begin(ctx, order)
	Eventually(running, "10s").Should(BeClosed())
	return func() (e execution.Execution) {
		GinkgoHelper()
		Eventually(ended, "15s").Should(Receive(&e))
		return e
	}
}

// begin executes an order at the same time as the spec goes on.
func (x *executor) begin(ctx context.Context, order execution.Order) <-chan execution.Execution {
	ended := make(chan execution.Execution, 1)
	go func() {
		defer close(ended) // nobody must wait for one that failed
		defer GinkgoRecover()
		ended <- x.execute(ctx, order)
	}()
	return ended
}

// trail of a remediation, oldest first, when everything is written.
func (x *executor) trail(ctx context.Context, correlationID string) []audit.Event {
	GinkgoHelper()
	Expect(CloseInTime(ctx, x.client)).To(Succeed())
	return storage.Trail(ctx, correlationID)
}

func types(trail []audit.Event) []string { return Page{Data: trail}.Types() }

func data(e audit.Event) map[string]any {
	GinkgoHelper()
	var values map[string]any
	Expect(json.Unmarshal(e.Data, &values)).To(Succeed())
	return values
}

func name(target string) string {
	GinkgoHelper()
	n, err := execution.Name(target)
	Expect(err).NotTo(HaveOccurred())
	return n
}

func beSkippedFor(reason string) OmegaMatcher {
	return And(HaveField("Phase", execution.Skipped), HaveField("Reason", reason))
}

func haveFailedFor(reason string) OmegaMatcher {
	return And(HaveField("Phase", execution.Failed), HaveField("Reason", reason))
}

func haveCompleted() OmegaMatcher { return HaveField("Phase", execution.Completed) }
