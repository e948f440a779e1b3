package gateway_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/gateway"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("Signals of one incident", func() {
	var (
		payments *cluster
		service  *replica
	)
	BeforeEach(func() {
		payments = &cluster{}
		service = newReplica(prefix(), payments)
	})

	It("begin one remediation, and are counted", func(ctx SpecContext) {
		first := service.take(ctx, about("api-1"))
		Expect(first).To(And(HaveField("Outcome", gateway.Created), HaveField("Count", 1)))
		for count := 2; count <= 4; count++ {
			Expect(service.take(ctx, about("api-1"))).To(Equal(gateway.Decision{
				Fingerprint: first.Fingerprint, Outcome: gateway.Duplicate, Remediation: first.Remediation, Count: count}))
		}
		Expect(payments.remediations()).To(HaveExactElements(gateway.Remediation{
			ID: first.Remediation, Fingerprint: first.Fingerprint, Signal: about("api-1")}))
	})

	It("are one although they get worse", func(ctx SpecContext) {
		service.take(ctx, about("api-1"))
		worse := about("api-1")
		worse.Severity, worse.Message = "critical", "9 of 10 attempts fail"
		Expect(service.take(ctx, worse).Outcome).To(Equal(gateway.Duplicate))
	})

	It("are not those about another resource", func(ctx SpecContext) {
		service.take(ctx, about("api-1"))
		Expect(service.take(ctx, about("api-2")).Outcome).To(Equal(gateway.Created))
		Expect(payments.remediations()).To(HaveLen(2))
	})

	It("begin one remediation when 50 writers send them at once, and none is lost from the count", func(ctx SpecContext) {
		decisions := inParallel(50, func(int) gateway.Decision { return service.take(ctx, about("api-1")) })
		Expect(payments.remediations()).To(HaveLen(1))
		Expect(decisions).To(HaveEach(HaveField("Remediation", payments.remediations()[0].ID)))
		counts := map[int]bool{}
		for _, d := range decisions {
			counts[d.Count] = true
		}
		Expect(counts).To(HaveLen(50), "every writer is told a count of its own")
		Expect(service.Dedup.Look(ctx, decisions[0].Fingerprint)).To(HaveField("Count", 50))
	})

	It("begin one remediation each when the writers of many incidents are mixed", func(ctx SpecContext) {
		inParallel(60, func(n int) gateway.Decision { return service.take(ctx, about(fmt.Sprint("api-", n%6))) })
		Expect(payments.remediations()).To(HaveLen(6))
		for _, r := range payments.remediations() {
			Expect(service.Dedup.Look(ctx, r.Fingerprint)).To(And(HaveField("Count", 10), HaveField("Remediation", r.ID)))
		}
	})

	It("are one for several gateways", func(ctx SpecContext) {
		shared := prefix()
		replicas := []*replica{newReplica(shared, payments), newReplica(shared, payments), newReplica(shared, payments)}
		decisions := inParallel(30, func(n int) gateway.Decision { return replicas[n%3].take(ctx, about("api-1")) })
		Expect(payments.remediations()).To(HaveLen(1))
		Expect(replicas[0].Dedup.Look(ctx, decisions[0].Fingerprint)).To(HaveField("Count", 30))
	})

	It("are begun again with the next one when the remediation was refused", func(ctx SpecContext) {
		payments.refuse(errors.New("no quota is left"))
		_, err := service.Take(ctx, about("api-1"))
		Expect(err).To(MatchError(ContainSubstring("no quota is left")))
		payments.refuse(nil)
		Expect(service.take(ctx, about("api-1"))).To(And(HaveField("Outcome", gateway.Created), HaveField("Count", 1)))
	})
})

var _ = Describe("The window of an incident", func() {
	var service *replica
	BeforeEach(func() { service = newReplica(prefix(), &cluster{}) })

	It("has its length to live", func(ctx SpecContext) {
		key := service.Dedup.WindowKey(service.take(ctx, about("api-1")).Fingerprint)
		Expect(cache.PTTL(ctx, key).Result()).To(BeNumerically("~", time.Minute, 10*time.Second))
	})

	It("does not get longer by a duplicate", func(ctx SpecContext) {
		key := service.Dedup.WindowKey(service.take(ctx, about("api-1")).Fingerprint)
		Expect(cache.Expire(ctx, key, 30*time.Second).Result()).To(BeTrue()) // half of it is over
		Expect(service.take(ctx, about("api-1")).Outcome).To(Equal(gateway.Duplicate))
		Expect(cache.PTTL(ctx, key).Result()).To(And(BeNumerically(">", 0), BeNumerically("<=", 30*time.Second)))
	})

	It("ends, and the next signal begins another incident", func(ctx SpecContext) {
		short := newReplica(prefix(), &cluster{}, func(d *gateway.Deduplicator) { d.Window = 20 * time.Millisecond })
		first := short.take(ctx, about("api-1"))
		Eventually(ctx, func() error {
			_, err := short.Dedup.Look(ctx, first.Fingerprint)
			return err
		}, "5s").Should(MatchError(gateway.ErrNoWindow))
		again := short.take(ctx, about("api-1"))
		Expect(again).To(And(HaveField("Outcome", gateway.Created), HaveField("Count", 1)))
		Expect(again.Remediation).NotTo(Equal(first.Remediation))
	})

	It("tells when the first and the last of its signals came", func(ctx SpecContext) {
		now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		service.Dedup.Now = func() time.Time { return now }
		decision := service.take(ctx, about("api-1"))
		now = now.Add(17 * time.Second)
		service.take(ctx, about("api-1"))
		Expect(service.Dedup.Look(ctx, decision.Fingerprint)).To(Equal(gateway.Window{Fingerprint: decision.Fingerprint,
			Remediation: decision.Remediation, Count: 2, First: now.Add(-17 * time.Second), Last: now}))
	})

	It("is not released in the name of a remediation that it does not belong to", func(ctx SpecContext) {
		service.take(ctx, about("api-1"))
		Expect(service.Dedup.Release(ctx, about("api-1"), "rr-of-an-earlier-window")).To(Succeed())
		Expect(service.take(ctx, about("api-1")).Outcome).To(Equal(gateway.Duplicate))
	})
})

// inParallel returns what n writers get that write at once.
func inParallel(n int, write func(n int) gateway.Decision) []gateway.Decision {
	var (
		mu        sync.Mutex
		next      atomic.Int32
		decisions []gateway.Decision
	)
	InParallel(n, func() {
		decision := write(int(next.Add(1)))
		mu.Lock()
		defer mu.Unlock()
		decisions = append(decisions, decision)
	})
	return decisions
}
