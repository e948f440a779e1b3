package workflowexecution_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	execution "github.com/kubernaut/workspace/pkg/workflowexecution"
)

var _ = Describe("An execution", func() {
	var x *executor

	BeforeEach(func() { x = newExecutor(plain) })

	It("goes from pending to completed", func(ctx SpecContext) {
		order := newOrder(newTarget())
		Expect(x.execute(ctx, order)).To(haveCompleted())
		Expect(types(x.trail(ctx, order.CorrelationID))).To(Equal([]string{
			"workflow.execution.pending", "execution.execution.running", "execution.execution.completed",
		}))
	})

	It("gives the engine the workflow and its parameters", func(ctx SpecContext) {
		order := newOrder(newTarget())
		order.Parameters = map[string]string{"replicas": "3"}
		x.execute(ctx, order)
		Expect(x.engine.orders).To(Equal([]execution.Order{order}))
	})

	It("fails with what the engine says", func(ctx SpecContext) {
		e := x.fail(ctx, newOrder(newTarget()), errTask)
		Expect(e).To(haveFailedFor(execution.TaskFailed))
		Expect(e.Message).To(Equal("task restart: exit code 1"))
	})

	It("fails alone when its engine panics, and its target is free", func(ctx SpecContext) {
		order := newOrder(newTarget())
		x.engine.scripts[order.ID] = func(context.Context) error { panic("nil map") }
		Expect(x.execute(ctx, order).Message).To(Equal("panic: nil map"))
		Expect(x.execute(ctx, newOrder(order.Target))).To(haveCompleted())
	})

	It("is stopped at its deadline", func(ctx SpecContext) {
		x.Deadline = 20 * time.Millisecond
		wait := x.runUntilStopped(ctx, newOrder(newTarget()))
		Expect(wait()).To(haveFailedFor(execution.DeadlineExceeded))
	})

	It("is ended properly when its caller goes: trail, and lock", func(ctx SpecContext) {
		order := newOrder(newTarget())
		going, cancel := context.WithCancel(ctx)
		wait := x.runUntilStopped(going, order)
		cancel()
		Expect(wait()).To(haveFailedFor(execution.Cancelled))
		Expect(x.execute(ctx, newOrder(order.Target))).To(haveCompleted())
		Expect(types(x.trail(ctx, order.CorrelationID))).To(HaveLen(3))
	})

	It("of what is no target is refused, and leaves no trail", func(ctx SpecContext) {
		order := newOrder("prod//web")
		_, err := x.Execute(ctx, order)
		Expect(err).To(MatchError(ContainSubstring(`target "prod//web"`)))
		Expect(x.trail(ctx, order.CorrelationID)).To(BeEmpty())
	})
})
