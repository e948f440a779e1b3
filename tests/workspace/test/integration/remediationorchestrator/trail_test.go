package remediationorchestrator_test

import (
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	remediation "github.com/kubernaut/workspace/pkg/remediationorchestrator"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("The trail of a remediation", func() {
	var c *control

	BeforeEach(func() { c = newControl(storage.URL) })

	It("keeps the order of moves of the same instant", func(ctx SpecContext) {
		r := c.begin()
		for range 4 {
			c.step(ctx, r)
		}
		Expect(actions(c.trail(ctx, r))).To(Equal([]string{"pending", "processing", "analyzing", "executing", "completed"}))
	})

	It("is in the category orchestration, all of it", func(ctx SpecContext) {
		r := c.begin()
		c.reach(ctx, r, remediation.Completed)
		whole := c.trail(ctx, r)
		ours := storage.Find(ctx, "correlation_id", r.ID, "event_category", "orchestration")
		Expect(ours.Data).To(HaveLen(len(whole)))
	})

	It("has one success, and it is the end", func(ctx SpecContext) {
		r := c.begin()
		c.services.errs[remediation.Executing] = []error{errRefused}
		c.reach(ctx, r, remediation.Completed)
		c.trail(ctx, r)
		Expect(storage.Find(ctx, "correlation_id", r.ID, "event_outcome", "success").Types()).To(Equal([]string{"orchestration.phase.completed"}))
	})

	It("shows what happened while a phase lasted", func(ctx SpecContext) {
		r := c.begin()
		c.services.errs[remediation.Analyzing] = []error{errBusy}
		c.reach(ctx, r, remediation.Analyzing)
		since := r.Entered
		c.reach(ctx, r, remediation.Executing)
		c.trail(ctx, r)
		during := storage.Find(ctx, "correlation_id", r.ID, "since", exactly(since), "until", exactly(r.Entered))
		Expect(during.Types()).To(Equal([]string{"orchestration.attempt.retried", "orchestration.phase.analyzing"}))
	})

	It("is complete although DataStorage was not there at first", func(ctx SpecContext) {
		c = newControl(storage.Flaky(2, http.StatusServiceUnavailable))
		r := c.begin()
		c.reach(ctx, r, remediation.Completed)
		Expect(c.trail(ctx, r)).To(HaveLen(5))
	})

	It("does not keep a remediation waiting", func(ctx SpecContext) {
		address, release := storage.Stuck()
		c = newControl(address)
		r := c.begin()
		c.reach(ctx, r, remediation.Completed)
		Expect(storage.Trail(ctx, r.ID)).To(BeEmpty())
		release()
		Expect(c.trail(ctx, r)).NotTo(BeEmpty())
	})

	It("is a remediation's own when 20 are under way at once", func(ctx SpecContext) {
		controls := make(chan *control, 20)
		for range cap(controls) {
			controls <- newControl(storage.URL)
		}
		InParallel(cap(controls), func() {
			c := <-controls
			r := c.begin()
			c.reach(ctx, r, remediation.Completed)
			Expect(actions(c.trail(ctx, r))).To(Equal([]string{"pending", "processing", "analyzing", "executing", "completed"}))
		})
	})
})

var _ = Describe("A remediation that is restored from its trail", func() {
	// restart is a second orchestrator, later, that has nothing but the trail.
	restart := func(ctx SpecContext, c *control, r *remediation.Request) (*control, *remediation.Request) {
		GinkgoHelper()
		restored, err := remediation.Restore(c.trail(ctx, r))
		Expect(err).NotTo(HaveOccurred())
		second := newControl(storage.URL)
		second.now = c.now.Add(time.Minute)
		return second, restored
	}

	It("goes on where it was and repeats nothing", func(ctx SpecContext) {
		first := newControl(storage.URL)
		r := first.begin()
		first.reach(ctx, r, remediation.Executing)
		second, restored := restart(ctx, first, r)
		second.reach(ctx, restored, remediation.Completed)
		Expect(second.services.calls).To(HaveLen(1))
		Expect(second.services.calls[remediation.Executing][0].Proposal).To(Equal(sure))
	})

	It("can be approved, and has the workflow executed that was proposed", func(ctx SpecContext) {
		first := newControl(storage.URL)
		first.services.proposals = []remediation.Proposal{doubtful}
		r := first.begin()
		first.reach(ctx, r, remediation.AwaitingApproval)
		second, restored := restart(ctx, first, r)
		Expect(second.Decide(restored, "alice", true)).To(Succeed())
		second.reach(ctx, restored, remediation.Completed)
		Expect(second.services.calls[remediation.Executing][0].Proposal).To(Equal(doubtful))
	})

	It("has only the attempts left that it had", func(ctx SpecContext) {
		first := newControl(storage.URL)
		first.services.errs[remediation.Analyzing] = []error{errBusy, errBusy}
		r := first.begin()
		first.reach(ctx, r, remediation.Analyzing)
		for r.Attempts < 2 {
			first.advance(time.Second)
			first.step(ctx, r)
		}
		second, restored := restart(ctx, first, r)
		second.services.errs[remediation.Analyzing] = []error{errBusy}
		second.step(ctx, restored)
		Expect(restored.Phase).To(Equal(remediation.Failed))
	})

	It("has only the time left that it had", func(ctx SpecContext) {
		first := newControl(storage.URL)
		r := first.begin()
		second, restored := restart(ctx, first, r)
		second.now = r.Created.Add(second.Policy.Whole + time.Microsecond)
		second.step(ctx, restored)
		Expect(restored.Phase).To(Equal(remediation.TimedOut))
	})

	It("is refused when an event of the trail is missing", func(ctx SpecContext) {
		c := newControl(storage.URL)
		r := c.begin()
		c.reach(ctx, r, remediation.Executing)
		trail := c.trail(ctx, r)
		incomplete := append([]audit.Event{trail[0]}, trail[2:]...)
		_, err := remediation.Restore(incomplete)
		Expect(err).To(MatchError(ContainSubstring(`event 2 of 3: comes from "Processing", but the trail is at "Pending"`)))
	})
})

func exactly(t time.Time) string { return t.Format(time.RFC3339Nano) }
