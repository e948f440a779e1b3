package contextapi_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/contextapi"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("Many readers at once", func() {
	const readers = 40
	var service *replica
	BeforeEach(func() { service = newReplica(prefix()) })

	joined := func() int64 { return service.Cache.Stats().Joined }

	// together holds the database up until all readers wait for one of so many loads.
	together := func(ctx context.Context, loads int, read func(n int)) {
		GinkgoHelper()
		ended := make(chan struct{})
		DeferCleanup(func() { <-ended }) // after the release that hold defers
		release := service.hold()
		go func() {
			defer close(ended)
			var next atomic.Int32
			InParallel(readers, func() { read(int(next.Add(1))) })
		}()
		Eventually(ctx, joined, "5s", "1ms").Should(Equal(int64(readers-loads)), "readers that wait for the load of another")
		release()
		<-ended
		Expect(service.source.queries.Load()).To(Equal(int64(loads)))
	}

	It("make one query, of which all get the answer", func(ctx SpecContext) {
		found := remember(ctx, action{}, action{})
		together(ctx, 1, func(int) {
			page, _ := service.page(ctx, payments)
			Expect(page.Data).To(HaveLen(len(found)))
		})
	})

	It("make one query for each of the pages that they read", func(ctx SpecContext) {
		together(ctx, 4, func(n int) {
			page, _ := service.page(ctx, contextapi.Query{Kind: "Deployment", Limit: 1 + n%4})
			Expect(page.Pagination.Limit).To(Equal(1 + n%4))
		})
	})

	It("share an error, and the next reader asks again", func(ctx SpecContext) {
		var failing atomic.Bool
		failing.Store(true)
		service.source.after = func() error {
			if failing.Load() {
				return errors.New("the database has gone away")
			}
			return nil
		}
		together(ctx, 1, func(int) {
			_, _, err := service.Actions(ctx, payments)
			Expect(err).To(MatchError("the database has gone away"))
		})
		failing.Store(false)
		Expect(service.tier(ctx, payments)).To(Equal(contextapi.FromDatabase))
	})

	It("are answered although the one has gone that asked first", func(ctx SpecContext) {
		release := service.hold()
		impatient, leave := context.WithCancel(ctx)
		first, second := make(chan error, 1), make(chan error, 1)
		read := func(ctx context.Context, into chan<- error) {
			_, _, err := service.Actions(ctx, payments)
			into <- err
		}
		go read(impatient, first)
		Eventually(ctx, service.source.queries.Load, "5s", "1ms").Should(Equal(int64(1)))
		leave()
		Eventually(ctx, first, "5s").Should(Receive(MatchError(context.Canceled)))
		go read(ctx, second)
		Eventually(ctx, joined, "5s", "1ms").Should(Equal(int64(1)))
		release()
		Eventually(ctx, second, "5s").Should(Receive(BeNil()))
	})
})

// hold has queries wait until release is called, or the spec ends.
func (r *replica) hold() (release func()) {
	held := make(chan struct{})
	release = sync.OnceFunc(func() { close(held) })
	DeferCleanup(release)
	r.source.before = func() { <-held }
	return release
}
