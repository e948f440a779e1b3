// Package gateway_test exercises the gateway with Redis. Every spec has a prefix
// of its own, in this worker's Redis database. It knows the stack by its
// environment alone and starts nothing.
package gateway_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/redis/go-redis/v9"

	"github.com/kubernaut/workspace/pkg/gateway"
	. "github.com/kubernaut/workspace/test/support"
)

var (
	cache     *redis.Client
	namespace string
	broken    gateway.Fault
)

func TestGateway(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Gateway integration")
}

var _ = BeforeSuite(func() {
	// Specs provoke errors; what is logged of them is for those that fail.
	log.SetOutput(GinkgoWriter)
	redis.SetLogger(logger{})
	var err error
	broken, err = gateway.FaultNamed()
	Expect(err).NotTo(HaveOccurred())
	cache = redisAt(Required("REDIS_ADDR"), OfWorker("REDIS_DB"))
	namespace = OfWorker("NAMESPACE")
})

type logger struct{}

func (logger) Printf(_ context.Context, format string, values ...any) { log.Printf(format, values...) }

// redisAt does not make a spec wait for a Redis that is not there.
func redisAt(address, db string) *redis.Client {
	GinkgoHelper()
	number, err := strconv.Atoi(db)
	Expect(err).NotTo(HaveOccurred())
	client := redis.NewClient(&redis.Options{Addr: address, DB: number, MaxRetries: -1, DialerRetries: 1})
	DeferCleanup(client.Close)
	return client
}

// ofOthers are the values that the other workers have of a variable.
func ofOthers(name string) []string {
	var others []string
	for _, variable := range os.Environ() {
		key, value, _ := strings.Cut(variable, "=")
		worker, ok := strings.CutPrefix(key, name+"_")
		if _, err := strconv.Atoi(worker); ok && err == nil && key != fmt.Sprintf("%s_%d", name, GinkgoParallelProcess()) {
			others = append(others, value)
		}
	}
	return others
}

// cluster is where remediations begin; it can refuse them.
type cluster struct {
	mu      sync.Mutex
	begun   []gateway.Remediation
	refusal error
}

func (c *cluster) Create(_ context.Context, r gateway.Remediation) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusal == nil {
		c.begun = append(c.begun, r)
	}
	return c.refusal
}

func (c *cluster) refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal = err
}

func (c *cluster) remediations() []gateway.Remediation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]gateway.Remediation(nil), c.begun...)
}

// replica is the gateway as one process has it, with an API of its own.
type replica struct {
	*gateway.Gateway
	api Storage
}

// newReplica is a gateway with windows of a minute and without storms, unless
// changes say otherwise.
func newReplica(prefix string, on *cluster, changes ...func(*gateway.Deduplicator)) *replica {
	GinkgoHelper()
	dedup := &gateway.Deduplicator{Redis: cache, Prefix: prefix, Window: time.Minute, StormWindow: time.Minute, Fault: broken}
	for _, change := range changes {
		change(dedup)
	}
	g := &gateway.Gateway{Dedup: dedup, Creator: on}
	server := httptest.NewServer(g.Handler())
	DeferCleanup(server.Close)
	return &replica{Gateway: g, api: Storage{URL: server.URL}}
}

// prefix is a part of Redis that nobody else has.
func prefix() string { return UniqueID(namespace) }

// take has a signal taken, of whatever outcome.
func (r *replica) take(ctx context.Context, s gateway.Signal) gateway.Decision {
	GinkgoHelper()
	decision, err := r.Take(ctx, s)
	Expect(err).NotTo(HaveOccurred())
	return decision
}

// about is a signal about a pod.
func about(pod string) gateway.Signal {
	return gateway.Signal{Source: "prometheus", Name: "HighMemory", Severity: "warning", Namespace: "payments", Kind: "Pod", Resource: pod}
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
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}
