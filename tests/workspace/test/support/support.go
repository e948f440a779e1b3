// Package support is what the integration suites have in common: their
// environment, DataStorage's API, and a DataStorage that cannot be relied on.
// Nothing here starts a part of the stack. Suites import it with a dot.
package support

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
)

// Required reads the environment. A suite that skipped for want of it would be
// green and have tested nothing.
func Required(name string) string {
	GinkgoHelper()
	value := os.Getenv(name)
	if value == "" {
		Fail(noStack(name))
	}
	return value
}

// noStack is for who runs go test alone: a suite learns of its stack from its
// environment, and its folder has the service's name.
func noStack(name string) string {
	folder, _ := os.Getwd()
	service := filepath.Base(folder)
	return fmt.Sprintf("%s is not set, so there is no stack. Make one: invoke infra.up --service %s, then: "+
		"set -a; . <(invoke infra.env --service %s); set +a. Or both at once: nox -s integration-%s",
		name, service, service, service)
}

// OfWorker reads what belongs to this parallel process alone: POSTGRES_DB_2 in
// the second.
func OfWorker(name string) string {
	GinkgoHelper()
	return Required(fmt.Sprintf("%s_%d", name, GinkgoParallelProcess()))
}

// OpenDatabase connects to the database of that name, until the end of the node
// that calls it.
func OpenDatabase(ctx context.Context, name string) *pgxpool.Pool {
	GinkgoHelper()
	dsn := url.URL{
		Scheme: "postgres",
		User:   url.UserPassword(Required("POSTGRES_USER"), Required("POSTGRES_PASSWORD")),
		Host:   net.JoinHostPort(Required("POSTGRES_HOST"), Required("POSTGRES_PORT")),
		Path:   name,
	}
	pool, err := pgxpool.New(ctx, dsn.String())
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(pool.Close)
	return pool
}

// UniqueID keeps a spec's data apart from that of all others.
func UniqueID(prefix string) string { return prefix + "-" + uuid.NewString() }

// NewAuditClient is one that does not keep a spec waiting, unless change says
// otherwise. The caller has to close it.
func NewAuditClient(url string, change func(*audit.Config)) *audit.Client {
	GinkgoHelper()
	cfg := audit.Config{URL: url, FlushInterval: 20 * time.Millisecond, Backoff: 5 * time.Millisecond}
	change(&cfg)
	client, err := audit.NewClient(cfg)
	Expect(err).NotTo(HaveOccurred())
	return client
}

// CloseInTime closes a client whose DataStorage may hang.
func CloseInTime(ctx context.Context, client *audit.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return client.Close(ctx)
}

// InParallel runs f n times at once and returns when all have ended, failed or not.
func InParallel(n int, f func()) {
	var running sync.WaitGroup
	running.Add(n)
	for range n {
		go func() {
			defer running.Done()
			defer GinkgoRecover()
			f()
		}()
	}
	running.Wait()
}
