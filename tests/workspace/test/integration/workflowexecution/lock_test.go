package workflowexecution_test

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	execution "github.com/kubernaut/workspace/pkg/workflowexecution"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("Two executions", func() {
	var x *executor

	BeforeEach(func() { x = newExecutor(plain) })

	DescribeTable("have the same name and collide", func(ctx SpecContext, variant func(target string) string) {
		target := newTarget()
		x.occupy(ctx, newOrder(target))
		Expect(x.execute(ctx, newOrder(variant(target)))).To(beSkippedFor(execution.ResourceBusy))
	},
		Entry("when their target is the same", func(target string) string { return target }),
		Entry("when the kind is spelt differently", func(target string) string { return strings.Replace(target, "deployment", "Deployment", 1) }),
		Entry("when there are blanks around the target", func(target string) string { return "  " + target + "\n" }),
	)

	DescribeTable("have names of their own and run side by side", func(ctx SpecContext, old, new string) {
		target := newTarget()
		x.occupy(ctx, newOrder(target))
		Expect(x.execute(ctx, newOrder(strings.Replace(target, old, new, 1)))).To(haveCompleted())
	},
		Entry("in different namespaces", "prod", "staging"),
		Entry("of different kinds", "deployment", "statefulset"),
		Entry("of different objects", "/web", "/web-canary"),
	)

	It("of one target run one after the other", func(ctx SpecContext) {
		target := newTarget()
		release := x.occupy(ctx, newOrder(target))
		Expect(release()).To(haveCompleted())
		Expect(x.execute(ctx, newOrder(target))).To(haveCompleted())
	})

	It("of one target collide whichever replica they are given to", func(ctx SpecContext) {
		target := newTarget()
		x.occupy(ctx, newOrder(target))
		Expect(newExecutor(plain).execute(ctx, newOrder(target))).To(beSkippedFor(execution.ResourceBusy))
	})

	// Executions do not queue yet.
	PIt("of one target run one after the other when the second is asked to wait instead of being skipped")
})

var _ = Describe("The lock of a target", func() {
	var (
		x      *executor
		target string
	)

	BeforeEach(func() {
		x = newExecutor(plain)
		target = newTarget()
	})

	It("says whom a skipped execution would have had to wait for", func(ctx SpecContext) {
		first, second := newOrder(target), newOrder(target)
		x.occupy(ctx, first)
		Expect(x.execute(ctx, second).Message).To(HaveSuffix("is busy with " + first.ID))
	})

	It("is won by exactly one of 20 executions at once", func(ctx SpecContext) {
		var runs, ended atomic.Int32
		second, others := make(chan struct{}), make(chan struct{})
		orders := make(chan execution.Order, 20)
		for range cap(orders) {
			order := newOrder(target)
			x.engine.scripts[order.ID] = func(ctx context.Context) error {
				if runs.Add(1) == 2 {
					close(second)
				}
				select { // the winner stays until all others have lost, or one of them has not
				case <-others:
				case <-second:
				case <-ctx.Done():
				}
				return nil
			}
			orders <- order
		}
		InParallel(cap(orders), func() {
			x.execute(ctx, <-orders)
			if ended.Add(1) == 19 {
				close(others)
			}
		})
		Expect(runs.Load()).To(Equal(int32(1)))
	})

	It("is free again after a workflow that failed", func(ctx SpecContext) {
		Expect(x.fail(ctx, newOrder(target), errTask)).To(haveFailedFor(execution.TaskFailed))
		Expect(x.execute(ctx, newOrder(target))).To(haveCompleted())
	})

	It("is renewed while an execution runs", func(ctx SpecContext) {
		x.occupy(ctx, newOrder(target))
		key := execution.LockKey(name(target))
		Expect(cache.PExpire(ctx, key, 10*time.Second).Result()).To(BeTrue())
		Eventually(ctx, func() (time.Duration, error) { return cache.PTTL(ctx, key).Result() }, "5s").Should(BeNumerically(">", 15*time.Second))
	})

	It("of a process that died ends with its time to live", func(ctx SpecContext) {
		dead := execution.RedisLocks{Redis: cache}
		Expect(dead.Acquire(ctx, name(target), "dead", time.Minute)).To(BeEmpty())
		Expect(x.execute(ctx, newOrder(target))).To(beSkippedFor(execution.ResourceBusy))
		Expect(cache.PExpire(ctx, execution.LockKey(name(target)), time.Millisecond).Result()).To(BeTrue())
		Eventually(ctx, func() execution.Execution { return x.execute(ctx, newOrder(target)) }, "5s").Should(haveCompleted())
	})

	It("stops the execution that has lost it", func(ctx SpecContext) {
		x.Deadline = 5 * time.Second
		order := newOrder(target)
		wait := x.runUntilStopped(ctx, order)
		Expect(cache.Set(ctx, execution.LockKey(name(target)), "somebody", time.Minute).Err()).To(Succeed())
		Expect(wait()).To(haveFailedFor(execution.LockLost))
	})

	It("is left to the one who has it now", func(ctx SpecContext) {
		release := x.occupy(ctx, newOrder(target))
		key := execution.LockKey(name(target))
		Expect(cache.Set(ctx, key, "somebody", time.Minute).Err()).To(Succeed())
		release()
		Expect(cache.Get(ctx, key).Result()).To(Equal("somebody"))
	})

	// The engine does not tell at which step it is.
	PIt("is taken over, with the step that the workflow was at, from a process that died")
})
