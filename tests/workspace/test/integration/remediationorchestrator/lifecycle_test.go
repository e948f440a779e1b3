package remediationorchestrator_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	remediation "github.com/kubernaut/workspace/pkg/remediationorchestrator"
)

var _ = Describe("A remediation", func() {
	var c *control

	BeforeEach(func() { c = newControl(storage.URL) })

	It("goes from a signal to its end without a person when the analysis is sure", func(ctx SpecContext) {
		r := c.begin()
		c.reach(ctx, r, remediation.Completed)
		Expect(actions(c.trail(ctx, r))).To(Equal([]string{"pending", "processing", "analyzing", "executing", "completed"}))
	})

	It("needs no approval when the analysis is exactly as sure as it has to be", func(ctx SpecContext) {
		c.services.proposals = []remediation.Proposal{{Workflow: "scale-out", Confidence: 0.7}}
		r := c.begin()
		c.reach(ctx, r, remediation.Completed)
		Expect(actions(c.trail(ctx, r))).NotTo(ContainElement("awaitingapproval"))
	})

	DescribeTable("has no way back from its end", func(ctx SpecContext, end remediation.Phase) {
		r := c.begin()
		switch end {
		case remediation.Failed:
			c.services.errs[remediation.Processing] = []error{errRefused}
		case remediation.TimedOut:
			c.advance(c.Policy.Whole + 1)
		}
		c.reach(ctx, r, end)
		before := *r
		c.advance(c.Policy.Whole)
		c.step(ctx, r)
		Expect(c.Decide(r, "alice", true)).To(MatchError(remediation.ErrNotAsked))
		Expect(*r).To(Equal(before))
	},
		Entry("when it is completed", remediation.Completed),
		Entry("when it has failed", remediation.Failed),
		Entry("when it has timed out", remediation.TimedOut),
	)
})

var _ = Describe("A person's approval", func() {
	var (
		c *control
		r *remediation.Request
	)

	BeforeEach(func(ctx SpecContext) {
		c = newControl(storage.URL)
		c.services.proposals = []remediation.Proposal{doubtful}
		r = c.begin()
	})

	It("is waited for when the analysis is not sure enough", func(ctx SpecContext) {
		c.reach(ctx, r, remediation.AwaitingApproval)
		for range 5 {
			c.step(ctx, r)
		}
		Expect(r.Phase).To(Equal(remediation.AwaitingApproval))
		Expect(c.services.calls[remediation.Executing]).To(BeEmpty())
		Expect(actions(c.trail(ctx, r))).To(Equal([]string{"pending", "processing", "analyzing", "awaitingapproval"}))
	})

	It("is asked for with the reason", func(ctx SpecContext) {
		c.reach(ctx, r, remediation.AwaitingApproval)
		trail := c.trail(ctx, r)
		Expect(data(trail[len(trail)-1])).To(HaveKeyWithValue("reason", "confidence 0.40 is below 0.70"))
	})

	It("has the workflow executed", func(ctx SpecContext) {
		c.reach(ctx, r, remediation.AwaitingApproval)
		Expect(c.Decide(r, "alice", true)).To(Succeed())
		c.reach(ctx, r, remediation.Completed)
		Expect(c.services.calls[remediation.Executing][0].Proposal).To(Equal(doubtful))
	})

	It("that is refused ends the remediation, and nobody else is bothered", func(ctx SpecContext) {
		c.reach(ctx, r, remediation.AwaitingApproval)
		Expect(c.Decide(r, "bob", false)).To(Succeed())
		c.step(ctx, r)
		Expect(c.services.calls[remediation.Executing]).To(BeEmpty())
		trail := actions(c.trail(ctx, r))
		Expect(trail).To(ContainElement("failed"))
		Expect(trail).NotTo(ContainElement("escalated"))
	})

	It("stands in the trail with the name of who gave it", func(ctx SpecContext) {
		c.reach(ctx, r, remediation.AwaitingApproval)
		Expect(c.Decide(r, "alice", true)).To(Succeed())
		trail := c.trail(ctx, r)
		Expect(data(trail[len(trail)-1])).To(And(HaveKeyWithValue("by", "alice"), HaveKeyWithValue("reason", "approved")))
	})

	It("is taken from the first of two people", func(ctx SpecContext) {
		c.reach(ctx, r, remediation.AwaitingApproval)
		Expect(c.Decide(r, "bob", false)).To(Succeed())
		Expect(c.Decide(r, "alice", true)).To(MatchError(remediation.ErrNotAsked))
		Expect(r.Phase).To(Equal(remediation.Failed))
	})

	It("is not taken before it was asked for", func(ctx SpecContext) {
		c.reach(ctx, r, remediation.Analyzing)
		Expect(c.Decide(r, "alice", true)).To(MatchError(remediation.ErrNotAsked))
		Expect(r.Phase).To(Equal(remediation.Analyzing))
	})
})
