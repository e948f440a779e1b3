package contextapi_test

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/contextapi"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("Invalidating a namespace", func() {
	orders, all := contextapi.Query{Namespace: "orders"}, contextapi.Query{}

	// warm has entries about two namespaces and about all of them in memory and in Redis.
	warm := func(ctx context.Context, service *replica) {
		GinkgoHelper()
		for _, q := range []contextapi.Query{payments, orders, all} {
			service.tier(ctx, q)
		}
	}

	It("has what was written since seen, in a list of all namespaces too", func(ctx SpecContext) {
		service := newReplica(prefix())
		warm(ctx, service)
		found := remember(ctx, action{})
		Expect(service.tier(ctx, payments)).To(Equal(contextapi.FromMemory))
		Expect(service.Cache.Invalidate(ctx, "payments")).To(Succeed())
		for _, q := range []contextapi.Query{payments, all} {
			page, tier := service.page(ctx, q)
			Expect(tier).To(Equal(contextapi.FromDatabase))
			Expect(ids(page.Data)).To(Equal(found))
		}
	})

	It("leaves what is cached of another, in Redis too", func(ctx SpecContext) {
		shared := prefix()
		service := newReplica(shared)
		warm(ctx, service)
		Expect(service.Cache.Invalidate(ctx, "payments")).To(Succeed())
		Expect(service.tier(ctx, orders)).To(Equal(contextapi.FromMemory))
		Expect(newReplica(shared).tier(ctx, orders)).To(Equal(contextapi.FromRedis))
	})

	It("is one of all when it has no name", func(ctx SpecContext) {
		service := newReplica(prefix())
		warm(ctx, service)
		Expect(service.Cache.Invalidate(ctx, "")).To(Succeed())
		Expect(service.Cache.Len()).To(BeZero())
		Expect(cache.Keys(ctx, service.Cache.RedisKey("*")).Result()).To(BeEmpty())
	})

	It("takes a name that looks like a pattern for a name", func(ctx SpecContext) {
		service := newReplica(prefix())
		warm(ctx, service)
		Expect(service.Cache.Invalidate(ctx, "pay*")).To(Succeed())
		Expect(cache.Exists(ctx, service.Cache.PageKey(payments)).Result()).To(Equal(int64(1)))
	})

	It("reaches the memory of another replica", func(ctx SpecContext) {
		shared := prefix()
		here, there := newReplica(shared), newReplica(shared)
		listen(ctx, there)
		warm(ctx, there)
		Expect(here.Cache.Invalidate(ctx, "payments")).To(Succeed())
		Eventually(ctx, there.Cache.Len, "5s").Should(Equal(1))
		Expect(there.tier(ctx, orders)).To(Equal(contextapi.FromMemory))
	})

	// Redis publishes to the subscribers of all its databases.
	It("is not heard under another prefix, in another Redis database either", func(ctx SpecContext) {
		others := slices.Collect(maps.Values(ofOthers("REDIS_DB")))
		elsewhere := contextapi.NewRedis(Required("REDIS_ADDR"), number(append(others, OfWorker("REDIS_DB"))[0]))
		DeferCleanup(elsewhere.Close)
		mine, other := prefix(), prefix()
		here, sender := newReplica(mine), newReplica(other, func(c *contextapi.CacheConfig) { c.Redis = elsewhere })
		listen(ctx, here)
		warm(ctx, here)
		Expect(sender.Cache.Invalidate(ctx, "")).To(Succeed())
		// What follows it on the way here has arrived: so would it have.
		Expect(newReplica(mine).Cache.Invalidate(ctx, "orders")).To(Succeed())
		Eventually(ctx, here.Cache.Len, "5s").Should(Equal(1))
		Expect(here.tier(ctx, payments)).To(Equal(contextapi.FromMemory))
	})

	It("does not keep what was being read while it came, nor give it to who asks after it", func(ctx SpecContext) {
		service := newReplica(prefix())
		held := make(chan struct{})
		release := sync.OnceFunc(func() { close(held) })
		DeferCleanup(release)
		service.source.after = func() error {
			<-held
			return nil
		}
		before, after := make(chan contextapi.Page, 1), make(chan contextapi.Page, 1)
		read := func(into chan<- contextapi.Page) {
			defer GinkgoRecover()
			page, _ := service.page(ctx, payments)
			into <- page
		}
		go read(before)
		Eventually(ctx, service.source.read.Load, "5s", "1ms").Should(Equal(int64(1)))
		remember(ctx, action{})
		Expect(service.Cache.Invalidate(ctx, "payments")).To(Succeed())
		go read(after)
		Eventually(ctx, service.source.read.Load, "5s", "1ms").Should(Equal(int64(2)), "a query of its own")
		release()
		Eventually(ctx, before, "5s").Should(Receive(HaveField("Data", BeEmpty())))
		Eventually(ctx, after, "5s").Should(Receive(HaveField("Data", HaveLen(1))))
		kept, tier := service.page(ctx, payments)
		Expect(tier).To(Equal(contextapi.FromMemory))
		Expect(kept.Data).To(HaveLen(1))
	})
})

// listen hears of invalidations until the end of the spec.
func listen(ctx context.Context, r *replica) {
	GinkgoHelper()
	listening, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	DeferCleanup(stop)
	Expect(r.Cache.Listen(listening)).To(Succeed())
}
