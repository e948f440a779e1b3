package workflowexecution_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	execution "github.com/kubernaut/workspace/pkg/workflowexecution"
)

var _ = Describe("The cooldown of a target", func() {
	var (
		x      *executor
		target string
		key    string
	)

	BeforeEach(func() {
		x = newExecutor(cooling)
		target = newTarget()
		key = execution.CooldownKey(name(target))
	})

	// over ends the cooldown now; the count of failures stays.
	over := func(ctx context.Context) {
		GinkgoHelper()
		Expect(cache.Del(ctx, key).Err()).To(Succeed())
	}

	It("keeps the next execution away", func(ctx SpecContext) {
		x.execute(ctx, newOrder(target))
		Expect(x.execute(ctx, newOrder(target))).To(beSkippedFor(execution.RecentlyRemediated))
		Expect(x.engine.orders).To(HaveLen(1))
	})

	It("does not keep that of another target away", func(ctx SpecContext) {
		x.execute(ctx, newOrder(target))
		Expect(x.execute(ctx, newOrder(newTarget()))).To(haveCompleted())
	})

	It("lasts as long as it is configured to after a workflow that worked", func(ctx SpecContext) {
		x.execute(ctx, newOrder(target))
		Expect(cache.PTTL(ctx, key).Result()).To(BeNumerically("~", time.Minute, 10*time.Second))
	})

	It("ends", func(ctx SpecContext) {
		x = newExecutor(func(x *execution.Executor, _ *audit.Config) {
			x.Cooldown.Base, x.Cooldown.Max = 100*time.Millisecond, time.Minute
		})
		x.execute(ctx, newOrder(target))
		Eventually(ctx, func() execution.Execution { return x.execute(ctx, newOrder(target)) }, "9s").Should(haveCompleted())
	})

	It("is not made longer by those whom it keeps away", func(ctx SpecContext) {
		x.execute(ctx, newOrder(target))
		Expect(cache.PExpire(ctx, key, 30*time.Second).Result()).To(BeTrue())
		x.execute(ctx, newOrder(target))
		Expect(cache.PTTL(ctx, key).Result()).To(BeNumerically("<=", 30*time.Second))
	})

	It("leaves the lock to nobody", func(ctx SpecContext) {
		x.execute(ctx, newOrder(target))
		x.execute(ctx, newOrder(target))
		Expect(cache.Exists(ctx, execution.LockKey(name(target))).Result()).To(BeZero())
	})

	DescribeTable("doubles with each failure in a row", func(ctx SpecContext, failures int, wait time.Duration) {
		for range failures {
			over(ctx)
			Expect(x.fail(ctx, newOrder(target), errTask)).To(haveFailedFor(execution.TaskFailed))
		}
		Expect(cache.PTTL(ctx, key).Result()).To(BeNumerically("~", wait, 10*time.Second))
	},
		Entry("after the first", 1, 2*time.Minute),
		Entry("after the third", 3, 8*time.Minute),
		Entry("up to its limit, after the fifth", 5, 10*time.Minute),
	)

	It("is short again after a workflow that worked, and after the next failure too", func(ctx SpecContext) {
		for range 2 {
			x.fail(ctx, newOrder(target), errTask)
			over(ctx)
		}
		x.execute(ctx, newOrder(target))
		Expect(cache.PTTL(ctx, key).Result()).To(BeNumerically("~", time.Minute, 10*time.Second))
		over(ctx)
		x.fail(ctx, newOrder(target), errTask)
		Expect(cache.PTTL(ctx, key).Result()).To(BeNumerically("~", 2*time.Minute, 10*time.Second))
	})

	It("does not begin when it was the caller who went", func(ctx SpecContext) {
		going, cancel := context.WithCancel(ctx)
		wait := x.runUntilStopped(going, newOrder(target))
		cancel()
		Expect(wait()).To(haveFailedFor(execution.Cancelled))
		Expect(cache.Exists(ctx, key).Result()).To(BeZero())
	})
})
