package gateway_test

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/gateway"
)

var _ = Describe("A storm", func() {
	const threshold = 5
	var (
		payments *cluster
		service  *replica
	)
	BeforeEach(func() {
		payments = &cluster{}
		service = newReplica(prefix(), payments, func(d *gateway.Deduplicator) { d.StormThreshold = threshold })
	})

	// rise has as many incidents begin as are still no storm.
	rise := func(ctx context.Context) {
		GinkgoHelper()
		for n := range threshold {
			Expect(service.take(ctx, about(fmt.Sprint("calm-", n))).Outcome).To(Equal(gateway.Created))
		}
	}

	It("begins with the incident that is one too many, and has one remediation for all that follow", func(ctx SpecContext) {
		rise(ctx)
		started := service.take(ctx, about("api-1"))
		Expect(started.Outcome).To(Equal(gateway.StormStarted))
		for n := range 3 {
			Expect(service.take(ctx, about(fmt.Sprint("storm-", n)))).To(And(
				HaveField("Outcome", gateway.StormJoined), HaveField("Remediation", started.Remediation)))
		}
		Expect(payments.remediations()).To(HaveLen(threshold + 1))
		Expect(payments.remediations()[threshold]).To(And(HaveField("Storm", true), HaveField("ID", started.Remediation)))
	})

	It("is not made of duplicates", func(ctx SpecContext) {
		rise(ctx)
		for range 3 {
			Expect(service.take(ctx, about("calm-0")).Outcome).To(Equal(gateway.Duplicate))
		}
		Expect(cache.Exists(ctx, service.Dedup.StormKey(about("calm-0"))).Result()).To(BeZero())
		Expect(service.take(ctx, about("api-1")).Outcome).To(Equal(gateway.StormStarted))
	})

	It("has duplicates too, that are counted by themselves", func(ctx SpecContext) {
		rise(ctx)
		started := service.take(ctx, about("api-1"))
		service.take(ctx, about("api-2"))
		Expect(service.take(ctx, about("api-2"))).To(And(
			HaveField("Outcome", gateway.Duplicate), HaveField("Count", 2), HaveField("Remediation", started.Remediation)))
	})

	It("leaves other namespaces and other alerts alone", func(ctx SpecContext) {
		rise(ctx)
		Expect(service.take(ctx, about("api-1")).Outcome).To(Equal(gateway.StormStarted))
		elsewhere, otherwise := about("api-2"), about("api-3")
		elsewhere.Namespace, otherwise.Name = "orders", "DiskFull"
		Expect(service.take(ctx, elsewhere).Outcome).To(Equal(gateway.Created))
		Expect(service.take(ctx, otherwise).Outcome).To(Equal(gateway.Created))
	})

	It("is found exactly when 60 incidents begin at once", func(ctx SpecContext) {
		outcomes := map[gateway.Outcome]int{}
		for _, decision := range inParallel(60, func(n int) gateway.Decision { return service.take(ctx, about(fmt.Sprint("api-", n))) }) {
			outcomes[decision.Outcome]++
		}
		Expect(outcomes).To(Equal(map[gateway.Outcome]int{gateway.Created: threshold, gateway.StormStarted: 1, gateway.StormJoined: 60 - threshold - 1}))
		Expect(payments.remediations()).To(HaveLen(threshold + 1))
	})

	It("counts the resources that it is about", func(ctx SpecContext) {
		rise(ctx)
		for n := range 4 {
			service.take(ctx, about(fmt.Sprint("api-", n)))
			service.take(ctx, about(fmt.Sprint("api-", n)))
		}
		Expect(cache.HGet(ctx, service.Dedup.StormKey(about("api-0")), "resources").Result()).To(Equal("4"))
	})

	It("lasts its time, although the rate that began it is over", func(ctx SpecContext) {
		rise(ctx)
		started := service.take(ctx, about("api-1"))
		rates, err := cache.Keys(ctx, service.Dedup.Prefix+":gateway:rate:*").Result()
		Expect(err).NotTo(HaveOccurred())
		Expect(cache.Del(ctx, rates...).Result()).To(Equal(int64(1)))
		Expect(service.take(ctx, about("api-2"))).To(And(
			HaveField("Outcome", gateway.StormJoined), HaveField("Remediation", started.Remediation)))
	})

	It("is over after its time, and incidents are single ones again", func(ctx SpecContext) {
		rise(ctx)
		service.take(ctx, about("api-1"))
		keys, err := cache.Keys(ctx, service.Dedup.Prefix+":gateway:[rs]*").Result() // of the rate and of the storm
		Expect(err).NotTo(HaveOccurred())
		Expect(keys).To(HaveLen(2))
		for _, key := range keys {
			Expect(cache.PTTL(ctx, key).Result()).To(BeNumerically("~", time.Minute, 10*time.Second))
			Expect(cache.PExpire(ctx, key, time.Millisecond).Err()).To(Succeed())
		}
		Eventually(ctx, func() (int64, error) { return cache.Exists(ctx, keys...).Result() }, "5s").Should(BeZero())
		Expect(service.take(ctx, about("api-2")).Outcome).To(Equal(gateway.Created))
	})
})
