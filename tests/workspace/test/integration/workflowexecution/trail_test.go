package workflowexecution_test

import (
	"errors"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	execution "github.com/kubernaut/workspace/pkg/workflowexecution"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("The trail of an execution", func() {
	var (
		x     *executor
		order execution.Order
	)

	BeforeEach(func() {
		x = newExecutor(plain)
		order = newOrder(newTarget())
	})

	It("keeps the order of moves of the same instant", func(ctx SpecContext) {
		instant := time.Now()
		x.Now = func() time.Time { return instant }
		x.execute(ctx, order)
		Expect(types(x.trail(ctx, order.CorrelationID))).To(Equal([]string{
			"workflow.execution.pending", "execution.execution.running", "execution.execution.completed",
		}))
	})

	It("tells what was asked for from what was done to the cluster, by category", func(ctx SpecContext) {
		x.execute(ctx, order)
		x.trail(ctx, order.CorrelationID)
		asked := storage.Find(ctx, "correlation_id", order.CorrelationID, "event_category", "workflow")
		Expect(asked.Types()).To(Equal([]string{"workflow.execution.pending"}))
		done := storage.Find(ctx, "correlation_id", order.CorrelationID, "event_category", "execution")
		Expect(done.Data).To(HaveLen(2))
	})

	It("has nothing done to the cluster when the execution was skipped, and no failure", func(ctx SpecContext) {
		Expect(execution.RedisLocks{Redis: cache}.Acquire(ctx, name(order.Target), "somebody", time.Minute)).To(BeEmpty())
		x.execute(ctx, order)
		Expect(types(x.trail(ctx, order.CorrelationID))).To(Equal([]string{"workflow.execution.pending", "workflow.execution.skipped"}))
		Expect(storage.Find(ctx, "correlation_id", order.CorrelationID, "event_outcome", "failure").Data).To(BeEmpty())
	})

	It("is found by its failure, with reason and message", func(ctx SpecContext) {
		x.fail(ctx, order, errTask)
		x.trail(ctx, order.CorrelationID)
		failures := storage.Find(ctx, "correlation_id", order.CorrelationID, "event_outcome", "failure").Data
		Expect(failures).To(HaveLen(1))
		Expect(data(failures[0])).To(And(HaveKeyWithValue("reason", execution.TaskFailed), HaveKeyWithValue("message", errTask.Error())))
	})

	It("says how long the workflow took", func(ctx SpecContext) {
		now := time.Now()
		x.Now = func() time.Time { now = now.Add(1500 * time.Millisecond); return now }
		x.execute(ctx, order)
		trail := x.trail(ctx, order.CorrelationID)
		Expect(trail).To(HaveLen(3))
		Expect(data(trail[2])).To(HaveKeyWithValue("seconds", 1.5))
	})

	It("has the beginning of a message that is far too long, and no half characters", func(ctx SpecContext) {
		x.fail(ctx, order, errors.New("x"+strings.Repeat("容", 10_000)))
		trail := x.trail(ctx, order.CorrelationID)
		Expect(trail).To(HaveLen(3))
		Expect(data(trail[2])["message"]).To(Equal("x" + strings.Repeat("容", 1365)))
	})

	It("does not keep the execution waiting", func(ctx SpecContext) {
		address, release := storage.Stuck()
		x = newExecutor(func(_ *execution.Executor, c *audit.Config) { c.URL = address })
		Expect(x.execute(ctx, order)).To(haveCompleted())
		Expect(storage.Trail(ctx, order.CorrelationID)).To(BeEmpty())
		release()
		Expect(x.trail(ctx, order.CorrelationID)).To(HaveLen(3))
	})

	It("is read together with those of the same remediation", func(ctx SpecContext) {
		second := newOrder(order.Target)
		second.CorrelationID = order.CorrelationID
		x.execute(ctx, order)
		x.execute(ctx, second)
		trail := x.trail(ctx, order.CorrelationID)
		Expect(trail).To(HaveLen(6))
		Expect(data(trail[2])).To(HaveKeyWithValue("order", order.ID))
		Expect(data(trail[3])).To(HaveKeyWithValue("order", second.ID))
	})
})

var _ = Describe("A trail that is written again", func() {
	var (
		x *executor
		e execution.Execution
	)

	BeforeEach(func(ctx SpecContext) {
		x = newExecutor(plain)
		e = x.execute(ctx, newOrder(newTarget()))
	})

	// again writes what the executor would, from the execution alone.
	again := func(client *audit.Client) {
		GinkgoHelper()
		for _, event := range x.Events(e) {
			Expect(client.Record(event)).To(Succeed())
		}
	}

	It("is stored once", func(ctx SpecContext) {
		again(x.client)
		Expect(x.trail(ctx, e.Order.CorrelationID)).To(HaveLen(3))
	})

	It("is stored once when two replicas write it at once", func(ctx SpecContext) {
		Expect(CloseInTime(ctx, x.client)).To(Succeed())
		clients := make(chan *audit.Client, 2)
		for range cap(clients) {
			clients <- newExecutor(plain).client
		}
		InParallel(cap(clients), func() {
			client := <-clients
			again(client)
			Expect(CloseInTime(ctx, client)).To(Succeed())
		})
		Expect(storage.Trail(ctx, e.Order.CorrelationID)).To(HaveLen(3))
	})

	It("gets what was missing, and nothing twice", func(ctx SpecContext) {
		second := newOrder(newTarget())
		var events []execution.Event
		x.Audit = recorder(func(event audit.Event) { events = append(events, event) })
		e = x.execute(ctx, second)
		Expect(x.client.Record(events[0])).To(Succeed())
		again(x.client)
		Expect(types(x.trail(ctx, second.CorrelationID))).To(Equal(types(events)))
	})
})

var _ = Describe("The batches of a trail", func() {
	// thrice executes three orders of one remediation: nine events.
	thrice := func(ctx SpecContext, x *executor) (correlationID string) {
		GinkgoHelper()
		correlationID = UniqueID("remediation")
		for range 3 {
			order := newOrder(newTarget())
			order.CorrelationID = correlationID
			Expect(x.execute(ctx, order)).To(haveCompleted())
		}
		return correlationID
	}

	DescribeTable("have the size that is configured, and the rest is written at the end", func(ctx SpecContext, size, batches int) {
		x := newExecutor(func(_ *execution.Executor, c *audit.Config) { c.BatchSize, c.FlushInterval = size, time.Hour })
		correlationID := thrice(ctx, x)
		Expect(x.trail(ctx, correlationID)).To(HaveLen(9))
		Expect(x.client.Stats()).To(Equal(audit.Stats{Written: 9, Batches: int64(batches)}))
	},
		Entry("one event each", 1, 9),
		Entry("two, and one is left", 2, 5),
		Entry("nine, and none is left", 9, 1),
		Entry("more than there are", 100, 1),
	)

	It("are complete after 25 executions at once", func(ctx SpecContext) {
		x := newExecutor(func(_ *execution.Executor, c *audit.Config) { c.BatchSize = 10 })
		correlationID := UniqueID("remediation")
		InParallel(25, func() {
			order := newOrder(newTarget())
			order.CorrelationID = correlationID
			Expect(x.execute(ctx, order)).To(haveCompleted())
		})
		Expect(x.trail(ctx, correlationID)).To(HaveLen(75))
		Expect(x.client.Stats()).To(And(HaveField("Written", int64(75)), HaveField("Dropped", int64(0))))
	})

	It("are stored once although the answer to one was lost", func(ctx SpecContext) {
		x := newExecutor(func(_ *execution.Executor, c *audit.Config) { c.URL = storage.LosingFirstAnswer() })
		Expect(x.trail(ctx, thrice(ctx, x))).To(HaveLen(9))
		Expect(x.client.Stats().Retries).To(BeNumerically(">=", 1))
	})
})

// recorder keeps events from DataStorage.
type recorder func(audit.Event)

func (r recorder) Record(e audit.Event) error { r(e); return nil }
