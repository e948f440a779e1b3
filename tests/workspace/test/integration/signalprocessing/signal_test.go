package signalprocessing_test

import (
	"errors"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	signals "github.com/kubernaut/workspace/pkg/signalprocessing"
)

var _ = Describe("A signal", func() {
	var p *processor

	BeforeEach(func() { p = newProcessor() })

	It("leaves a trail of everything that is done to it, in order", func(ctx SpecContext) {
		instant := time.Now()
		p.Now = func() time.Time { return instant }
		s := newSignal()
		p.process(ctx, s)
		Expect(actions(p.trail(ctx, s))).To(Equal([]string{"received", "enriched", "classified", "forwarded"}))
	})

	It("is forwarded in the words that all services use", func(ctx SpecContext) {
		s := newSignal()
		s.Source, s.Name, s.Kind = " Prometheus", "HighMemoryUsage\n", "Pod"
		p.process(ctx, s)
		Expect(p.sink.taken).To(HaveLen(1))
		Expect(p.sink.taken[0].Signal).To(And(
			HaveField("Source", "prometheus"), HaveField("Name", "HighMemoryUsage"), HaveField("Kind", "pod"),
		))
	})

	It("is received in the words of its source", func(ctx SpecContext) {
		s := newSignal()
		s.Severity = " SEV-1!"
		p.process(ctx, s)
		Expect(data(p.trail(ctx, s)[0])).To(HaveKeyWithValue("severity", " SEV-1!"))
	})

	It("is forwarded with the owner and the team that the cluster knows", func(ctx SpecContext) {
		s := newSignal()
		p.process(ctx, s)
		Expect(p.sink.taken).To(HaveLen(1))
		Expect(p.sink.taken[0].Context).To(And(HaveField("Owner", "deployment/web"), HaveField("Team", "payments")))
	})

	It("is forwarded without them when the cluster does not answer, and the trail says why", func(ctx SpecContext) {
		p.cluster.err = errors.New("the API server is not reachable")
		s := newSignal()
		Expect(p.process(ctx, s).Degraded).To(Equal([]string{"cluster"}))
		trail := p.trail(ctx, s)
		Expect(actions(trail)).To(Equal([]string{"received", "enriched", "classified", "forwarded"}))
		Expect(trail[1].Outcome).To(Equal("failure"))
		Expect(data(trail[1])).To(HaveKeyWithValue("error", "the API server is not reachable"))
	})

	It("that lacks something is rejected, and the trail says what", func(ctx SpecContext) {
		s := newSignal()
		s.Name, s.Object = "", " "
		_, err := p.Process(ctx, s)
		Expect(err).To(MatchError(HaveSuffix("has no name, object")))
		trail := p.trail(ctx, s)
		Expect(actions(trail)).To(Equal([]string{"received", "rejected"}))
		Expect(data(trail[1])).To(HaveKeyWithValue("error", HaveSuffix("has no name, object")))
		Expect(p.sink.taken).To(BeEmpty())
	})

	It("has all of its trail in the category signalprocessing", func(ctx SpecContext) {
		s := newSignal()
		p.process(ctx, s)
		whole := p.trail(ctx, s)
		Expect(storage.Find(ctx, "correlation_id", s.ID, "event_category", "signalprocessing").Data).To(HaveLen(len(whole)))
	})
})

var _ = Describe("The classification of a signal", func() {
	// classified is what the trail says of a signal.
	classified := func(ctx SpecContext, s signals.Signal, label string) map[string]any {
		GinkgoHelper()
		p := newProcessor()
		p.cluster.labels = map[string]string{signals.EnvironmentLabel: label}
		p.process(ctx, s)
		trail := p.trail(ctx, s)
		Expect(trail).To(HaveLen(4))
		return data(trail[2])
	}

	DescribeTable("knows the severities of all sources", func(ctx SpecContext, said, severity string) {
		s := newSignal()
		s.Severity = said
		Expect(classified(ctx, s, "")).To(HaveKeyWithValue("severity", severity))
	},
		Entry("those of Prometheus", "Warning", "medium"),
		Entry("those of pagers", "page", "critical"),
		Entry("those that nobody knows", "sev-1", "unknown"),
	)

	DescribeTable("knows the environment", func(ctx SpecContext, namespace, label, environment string) {
		s := newSignal()
		s.Namespace = strings.Replace(s.Namespace, "shop-prod", namespace, 1)
		Expect(classified(ctx, s, label)).To(HaveKeyWithValue("environment", environment))
	},
		Entry("by a word of the namespace's name", "shop-uat", "", "staging"),
		Entry("not by a part of a word", "reproduction", "", "unknown"),
		Entry("by the namespace's label rather than its name", "shop-prod", "development", "development"),
		Entry("by the name when the label says nothing", "shop-prod", "moon", "production"),
	)

	DescribeTable("gives a priority", func(ctx SpecContext, severity, environment string, priority float64) {
		s := newSignal()
		s.Severity, s.Namespace = severity, strings.Replace(s.Namespace, "prod", environment, 1)
		Expect(classified(ctx, s, "")).To(HaveKeyWithValue("priority", priority))
	},
		Entry("of 0 to what is critical in production", "critical", "prod", 0.0),
		Entry("of 1 to what is critical in staging", "critical", "staging", 1.0),
		Entry("of 1 to what nobody knows in production", "strange", "prod", 1.0),
		Entry("of 3, the least, to what is low in development", "low", "dev", 3.0),
	)
})
