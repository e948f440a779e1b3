package remediationorchestrator_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	remediation "github.com/kubernaut/workspace/pkg/remediationorchestrator"
)

var _ = Describe("The time limit", func() {
	var (
		c *control
		r *remediation.Request
	)

	BeforeEach(func() {
		c = newControl(storage.URL)
		r = c.begin()
	})

	DescribeTable("of a phase ends the remediation", func(ctx SpecContext, phase remediation.Phase, limit time.Duration, reason string) {
		if phase == remediation.AwaitingApproval {
			c.services.proposals = []remediation.Proposal{doubtful}
		}
		c.reach(ctx, r, phase)
		c.advance(limit + time.Microsecond)
		c.step(ctx, r)
		Expect(r.Phase).To(Equal(remediation.TimedOut))
		Expect(r.Reason).To(Equal(reason))
	},
		Entry("that processes", remediation.Processing, 5*time.Minute, "Processing took longer than 5m0s"),
		Entry("that analyses", remediation.Analyzing, 10*time.Minute, "Analyzing took longer than 10m0s"),
		Entry("that awaits approval", remediation.AwaitingApproval, 15*time.Minute, "AwaitingApproval took longer than 15m0s"),
		Entry("that executes", remediation.Executing, 30*time.Minute, "Executing took longer than 30m0s"),
	)

	It("is not exceeded by a phase that takes exactly as long", func(ctx SpecContext) {
		c.reach(ctx, r, remediation.Executing)
		c.advance(30 * time.Minute)
		c.step(ctx, r)
		Expect(r.Phase).To(Equal(remediation.Completed))
	})

	It("of a phase begins anew with the phase", func(ctx SpecContext) {
		c.reach(ctx, r, remediation.Processing)
		c.advance(4 * time.Minute)
		c.step(ctx, r)
		c.advance(9 * time.Minute)
		c.step(ctx, r)
		Expect(r.Phase).To(Equal(remediation.Executing))
	})

	It("of the whole is exceeded by phases that were each in time", func(ctx SpecContext) {
		c.Policy.Whole = 40 * time.Minute
		c.reach(ctx, r, remediation.Analyzing)
		c.advance(10 * time.Minute)
		c.step(ctx, r)
		c.advance(30 * time.Minute)
		c.step(ctx, r)
		Expect(r.Reason).To(Equal("the remediation took longer than 40m0s"))
		Expect(actions(c.trail(ctx, r))).To(ContainElement("timedout"))
	})

	It("lets no service begin what is too late", func(ctx SpecContext) {
		c.reach(ctx, r, remediation.Executing)
		c.advance(c.Policy.Whole)
		c.step(ctx, r)
		Expect(c.services.calls[remediation.Executing]).To(BeEmpty())
	})

	It("of the approval holds for a decision that comes before anybody looked at the clock", func(ctx SpecContext) {
		c.services.proposals = []remediation.Proposal{doubtful}
		c.reach(ctx, r, remediation.AwaitingApproval)
		c.advance(15*time.Minute + time.Microsecond)
		Expect(c.Decide(r, "alice", true)).To(MatchError(ContainSubstring("AwaitingApproval took longer than 15m0s")))
		Expect(r.Phase).To(Equal(remediation.TimedOut))
	})
})
