package contextapi_test

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/contextapi"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("Without Redis", func() {
	It("a reader is answered from the database", func(ctx SpecContext) {
		found := remember(ctx, action{})
		service := newReplica(prefix(), redisAt(closedPort()))
		page, tier := service.page(ctx, payments)
		Expect(tier).To(Equal(contextapi.FromDatabase))
		Expect(ids(page.Data)).To(Equal(found))
	})

	It("memory still keeps what was read", func(ctx SpecContext) {
		service := newReplica(prefix(), redisAt(closedPort()))
		service.tier(ctx, payments)
		Expect(service.tier(ctx, payments)).To(Equal(contextapi.FromMemory))
		Expect(service.source.queries.Load()).To(Equal(int64(1)))
	})

	It("what failed is counted: the look and the keeping", func(ctx SpecContext) {
		service := newReplica(prefix(), redisAt(closedPort()))
		service.tier(ctx, payments)
		Expect(service.Cache.Stats()).To(Equal(contextapi.CacheStats{MemoryMisses: 1, RedisErrors: 2}))
	})

	It("a reader does not wait for one that hangs", func(ctx SpecContext) {
		service := newReplica(prefix(), redisAt(newRelay(hanging).address), func(c *contextapi.CacheConfig) { c.RedisTimeout = 20 * time.Millisecond })
		impatient, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		Expect(service.tier(impatient, payments)).To(Equal(contextapi.FromDatabase))
	})

	It("entries wait there until it is back", func(ctx SpecContext) {
		shared := prefix()
		newReplica(shared).tier(ctx, payments)
		relay := newRelay(cut)
		Expect(newReplica(shared, redisAt(relay.address)).tier(ctx, payments)).To(Equal(contextapi.FromDatabase))
		relay.does.Store(through)
		Eventually(ctx, func() contextapi.Tier {
			return newReplica(shared, redisAt(relay.address)).tier(ctx, payments)
		}, "10s").Should(Equal(contextapi.FromRedis))
	})

	It("an invalidation says that it is not complete, and empties memory", func(ctx SpecContext) {
		service := newReplica(prefix(), redisAt(closedPort()))
		service.tier(ctx, payments)
		Expect(service.Cache.Invalidate(ctx, "payments")).To(MatchError(ContainSubstring(`invalidate "payments" in Redis`)))
		Expect(service.Cache.Len()).To(BeZero())
	})
})

// redisAt is a Redis of the spec's own, with this worker's number of database.
func redisAt(address string) func(*contextapi.CacheConfig) {
	GinkgoHelper()
	client := contextapi.NewRedis(address, number(OfWorker("REDIS_DB")))
	DeferCleanup(client.Close)
	return func(c *contextapi.CacheConfig) { c.Redis = client }
}

// closedPort refuses connections until the end of the spec: it is taken, so that
// nobody else listens there, and nothing listens.
func closedPort() string {
	GinkgoHelper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(syscall.Close, socket)
	Expect(syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})).To(Succeed())
	name, err := syscall.Getsockname(socket)
	Expect(err).NotTo(HaveOccurred())
	return (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
}

const (
	cut     int32 = iota // closes what connects
	hanging              // says nothing to what connects
	through              // is Redis
)

// relay is a way to Redis that can be closed.
type relay struct {
	address string
	does    atomic.Int32
}

func newRelay(does int32) *relay {
	GinkgoHelper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(listener.Close)
	r := &relay{address: listener.Addr().String()}
	r.does.Store(does)
	target := Required("REDIS_ADDR")
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go r.serve(conn, target)
		}
	}()
	return r
}

// serve ends when the client closes its connection.
func (r *relay) serve(conn net.Conn, target string) {
	defer conn.Close()
	switch r.does.Load() {
	case hanging:
		_, _ = io.Copy(io.Discard, conn)
	case through:
		redis, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(redis, conn)
			_ = redis.Close()
		}()
		_, _ = io.Copy(conn, redis)
	}
}
