package signalprocessing_test

import (
	"errors"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/redis/go-redis/v9"

	signals "github.com/kubernaut/workspace/pkg/signalprocessing"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("The window of an incident", func() {
	var (
		p     *processor
		first signals.Signal
	)

	BeforeEach(func() {
		p = newProcessor()
		first = newSignal()
	})

	It("suppresses a repetition, and the trail says of what and how often", func(ctx SpecContext) {
		fingerprint := p.process(ctx, first).Fingerprint
		second, third := again(first), again(first)
		p.process(ctx, second)
		Expect(p.process(ctx, third)).To(HaveField("Duplicate", true))
		trail := p.trail(ctx, third)
		Expect(actions(trail)).To(Equal([]string{"received", "enriched", "classified", "suppressed"}))
		Expect(data(trail[3])).To(And(HaveKeyWithValue("fingerprint", fingerprint), HaveKeyWithValue("count", 3.0)))
	})

	DescribeTable("takes for a repetition", func(ctx SpecContext, change func(*signals.Signal)) {
		p.process(ctx, first)
		second := again(first)
		change(&second)
		Expect(p.process(ctx, second)).To(HaveField("Duplicate", true))
		Expect(p.sink.taken).To(HaveLen(1))
	},
		Entry("what another source says of the same", func(s *signals.Signal) { s.Source = "kubernetes" }),
		Entry("what began at another time", func(s *signals.Signal) { s.Starts = s.Starts.Add(time.Hour) }),
		Entry("what has become less severe", func(s *signals.Signal) { s.Severity = "warning" }),
		Entry("what another pod of the same deployment has", func(s *signals.Signal) { s.Object = "web-x2x4" }),
	)

	DescribeTable("takes for an incident of its own", func(ctx SpecContext, change func(*signals.Signal)) {
		p.process(ctx, first)
		second := again(first)
		change(&second)
		Expect(p.process(ctx, second)).To(And(HaveField("Duplicate", false), HaveField("Count", int64(1))))
	},
		Entry("what has another name", func(s *signals.Signal) { s.Name = "CrashLoopBackOff" }),
		Entry("what is in another namespace", func(s *signals.Signal) { s.Namespace += "-2" }),
		Entry("what another deployment has", func(s *signals.Signal) { s.Object = "api-7d9f" }),
	)

	It("lets through what has become worse, once", func(ctx SpecContext) {
		first.Severity = "warning"
		p.process(ctx, first)
		worse := again(first)
		worse.Severity = "critical"
		Expect(p.process(ctx, worse)).To(And(HaveField("Duplicate", false), HaveField("Count", int64(2))))
		Expect(p.process(ctx, again(worse))).To(HaveField("Duplicate", true))
	})

	It("lets one through of 20 that arrive at once", func(ctx SpecContext) {
		InParallel(20, func() { p.process(ctx, again(first)) })
		Expect(p.sink.taken).To(HaveLen(1))
		Expect(p.process(ctx, first)).To(HaveField("Count", int64(21)))
	})

	It("is the same for all replicas", func(ctx SpecContext) {
		p.process(ctx, first)
		other := newProcessor()
		Expect(other.process(ctx, again(first))).To(HaveField("Duplicate", true))
		Expect(other.sink.taken).To(BeEmpty())
	})

	It("is not made longer by repetitions", func(ctx SpecContext) {
		key := signals.WindowKey(p.process(ctx, first).Fingerprint)
		Expect(cache.PTTL(ctx, key).Result()).To(BeNumerically("~", time.Minute, 10*time.Second))
		Expect(cache.PExpire(ctx, key, 20*time.Second).Result()).To(BeTrue())
		p.process(ctx, again(first))
		Expect(cache.PTTL(ctx, key).Result()).To(BeNumerically("<=", 20*time.Second))
	})

	It("ends", func(ctx SpecContext) {
		p = newProcessorWith(signals.RedisWindow{Redis: cache, Length: 100 * time.Millisecond})
		p.process(ctx, first)
		Eventually(ctx, func() bool { return p.process(ctx, again(first)).Duplicate }, "9s").Should(BeFalse())
	})

	It("is not opened by a signal that nobody took", func(ctx SpecContext) {
		p.sink.errs = []error{errors.New("the queue is full")}
		_, err := p.Process(ctx, first)
		Expect(err).To(MatchError(ContainSubstring("the queue is full")))
		Expect(p.process(ctx, again(first))).To(HaveField("Duplicate", false))
		Expect(actions(p.trail(ctx, first))).To(ContainElement("failed"))
	})

	It("is done without when Redis cannot be asked", func(ctx SpecContext) {
		gone := redis.NewClient(cache.Options())
		Expect(gone.Close()).To(Succeed())
		p = newProcessorWith(signals.RedisWindow{Redis: gone, Length: time.Minute})
		for _, s := range []signals.Signal{first, again(first)} {
			Expect(p.process(ctx, s).Duplicate).To(BeFalse())
		}
		Expect(p.sink.taken).To(HaveLen(2))
	})
})
