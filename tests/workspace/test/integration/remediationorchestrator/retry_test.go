package remediationorchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	remediation "github.com/kubernaut/workspace/pkg/remediationorchestrator"
)

var (
	errBusy    = errors.New("the API server is busy")
	errRefused = fmt.Errorf("%w: forbidden", remediation.ErrPermanent)
)

var _ = Describe("A phase that fails", func() {
	var (
		c *control
		r *remediation.Request
	)

	BeforeEach(func() {
		c = newControl(storage.URL)
		r = c.begin()
	})

	It("is tried again, and the remediation goes on", func(ctx SpecContext) {
		c.services.errs[remediation.Processing] = []error{errBusy, errBusy}
		c.reach(ctx, r, remediation.Completed)
		Expect(actions(c.trail(ctx, r))).To(Equal([]string{
			"pending", "processing", "retried", "retried", "analyzing", "executing", "completed",
		}))
	})

	It("is not tried again before its wait is over, which doubles", func(ctx SpecContext) {
		c.services.errs[remediation.Processing] = []error{errBusy, errBusy}
		c.reach(ctx, r, remediation.Processing)
		for _, wait := range []time.Duration{10 * time.Second, 20 * time.Second} {
			c.step(ctx, r)
			calls := len(c.services.calls[remediation.Processing])
			c.advance(wait - time.Microsecond)
			c.step(ctx, r)
			Expect(c.services.calls[remediation.Processing]).To(HaveLen(calls))
			c.advance(time.Microsecond)
		}
		c.step(ctx, r)
		Expect(r.Phase).To(Equal(remediation.Analyzing))
	})

	It("ends the remediation after the last attempt that the policy allows", func(ctx SpecContext) {
		c.services.errs[remediation.Analyzing] = []error{errBusy, errBusy, errBusy}
		c.reach(ctx, r, remediation.Failed)
		Expect(c.services.calls[remediation.Analyzing]).To(HaveLen(3))
	})

	It("has attempts of its own, whatever the phases before it needed", func(ctx SpecContext) {
		c.services.errs[remediation.Processing] = []error{errBusy, errBusy}
		c.services.errs[remediation.Analyzing] = []error{errBusy, errBusy}
		c.reach(ctx, r, remediation.Completed)
	})

	It("is no attempt when it is the caller that has gone", func(ctx SpecContext) {
		c.reach(ctx, r, remediation.Processing)
		going, cancel := context.WithCancel(ctx)
		c.services.during = cancel
		c.services.errs[remediation.Processing] = []error{context.Canceled}
		Expect(c.Step(going, r)).To(MatchError(context.Canceled))
		Expect(r.Attempts).To(BeZero())
		Expect(r.Phase).To(Equal(remediation.Processing))
	})

	It("is handed to a person with the reason, after the end", func(ctx SpecContext) {
		c.services.errs[remediation.Processing] = []error{errRefused}
		c.reach(ctx, r, remediation.Failed)
		trail := c.trail(ctx, r)
		Expect(actions(trail)).To(Equal([]string{"pending", "processing", "failed", "escalated"}))
		Expect(data(trail[3])).To(HaveKeyWithValue("reason", "permanent failure: forbidden"))
	})
})

var _ = Describe("A workflow that fails", func() {
	var (
		c *control
		r *remediation.Request
	)

	BeforeEach(func() {
		c = newControl(storage.URL)
		c.services.proposals = []remediation.Proposal{sure, {Workflow: "scale-out", Confidence: 0.8}}
		r = c.begin()
	})

	It("is followed by an analysis that is told why, and by another workflow", func(ctx SpecContext) {
		c.services.errs[remediation.Executing] = []error{errRefused}
		c.reach(ctx, r, remediation.Completed)
		Expect(c.services.calls[remediation.Analyzing][1].LastError).To(Equal("permanent failure: forbidden"))
		Expect(c.services.calls[remediation.Executing][1].Proposal.Workflow).To(Equal("scale-out"))
	})

	It("ends the remediation when the other workflow fails too", func(ctx SpecContext) {
		c.services.errs[remediation.Executing] = []error{errRefused, errRefused}
		c.reach(ctx, r, remediation.Failed)
		Expect(c.services.calls[remediation.Analyzing]).To(HaveLen(2))
		Expect(actions(c.trail(ctx, r))).To(ContainElement("escalated"))
	})
})
