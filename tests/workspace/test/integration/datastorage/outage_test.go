package datastorage_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/kubernaut/workspace/test/support"
)

const (
	queue    = "audit:dlq"
	rejected = queue + ":rejected"
	hoarder  = "datastorage-suite-hoarder" // application_name of connections that are taken from others
	recovery = 15 * time.Second            // everything that ends an outage has this long
)

// state is what an outage must not leave changed behind it.
type state struct {
	Health, Ready    int
	Queued, Rejected int64
	MaxMemory        string
	Connectable      bool
	Hoarded          int
}

func observe(ctx context.Context, admin *pgxpool.Pool) state {
	GinkgoHelper()
	return state{
		Health:      status(ctx, "/health"),
		Ready:       status(ctx, "/health/ready"),
		Queued:      length(ctx, queue),
		Rejected:    length(ctx, rejected),
		MaxMemory:   cache.ConfigGet(ctx, "maxmemory").Val()["maxmemory"],
		Connectable: one[bool](ctx, admin, `SELECT datallowconn FROM pg_database WHERE datname = $1`, Required("POSTGRES_DB")),
		Hoarded:     sessions(ctx, admin, hoarder),
	}
}

// openAdmin connects to a database that stays usable. When the spec, or the
// container, is over the stack has to be as it was before.
func openAdmin(ctx context.Context) *pgxpool.Pool {
	GinkgoHelper()
	admin := OpenDatabase(ctx, "postgres")
	before := observe(ctx, admin)
	Expect(before).To(Equal(state{Health: 200, Ready: 200, MaxMemory: "0", Connectable: true}), "the stack is not whole")
	DeferCleanup(func(ctx SpecContext) {
		Eventually(ctx, observe).WithArguments(admin).WithTimeout(recovery).Should(Equal(before), "the stack is not as it was before")
	})
	return admin
}

func length(ctx context.Context, stream string) int64 {
	GinkgoHelper()
	n, err := cache.XLen(ctx, stream).Result()
	Expect(err).NotTo(HaveOccurred())
	return n
}

func sessions(ctx context.Context, admin *pgxpool.Pool, application string) int {
	GinkgoHelper()
	return one[int](ctx, admin, `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1`, application)
}

func allowConnections(ctx context.Context, admin *pgxpool.Pool, allow bool) {
	GinkgoHelper()
	statement := "ALTER DATABASE " + pgx.Identifier{Required("POSTGRES_DB")}.Sanitize() + " ALLOW_CONNECTIONS "
	if allow {
		statement += "true"
	} else {
		statement += "false"
	}
	_, err := admin.Exec(ctx, statement)
	Expect(err).NotTo(HaveOccurred())
}

// terminate ends DataStorage's sessions, and says how many there were.
func terminate(ctx context.Context, admin *pgxpool.Pool) int {
	GinkgoHelper()
	return one[int](ctx, admin, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'datastorage'`)
}

// takePostgresAway keeps DataStorage from its database until giveBack is
// called, or until the spec is over.
func takePostgresAway(ctx context.Context, admin *pgxpool.Pool) (giveBack func(context.Context)) {
	GinkgoHelper()
	giveBack = func(ctx context.Context) {
		GinkgoHelper()
		allowConnections(ctx, admin, true)
		expectHealed(ctx)
	}
	DeferCleanup(func(ctx SpecContext) { giveBack(ctx) })
	allowConnections(ctx, admin, false)
	Eventually(ctx, terminate).WithArguments(admin).WithTimeout(recovery).WithPolling(2*time.Millisecond).Should(BeZero(), "DataStorage still has sessions")
	return giveBack
}

// expectHealed waits until as many queries at once are answered as there are
// connections in the pool: the last dead one is out of it then.
func expectHealed(ctx context.Context) {
	GinkgoHelper()
	Eventually(func() map[int]int {
		var answers tally
		InParallel(maxOpenConns, func() { answers.add(status(ctx, EventsPath+"?limit=1")) })
		return answers.counts
	}).WithContext(ctx).WithTimeout(recovery).Should(Equal(map[int]int{http.StatusOK: maxOpenConns}))
	Eventually(ctx, status).WithArguments("/health").WithTimeout(recovery).Should(Equal(http.StatusOK))
	Eventually(ctx, length).WithArguments(queue).WithTimeout(recovery).Should(BeZero(), "the queue is not drained")
}

// fillRedis has Redis refuse every write that needs memory, until makeRoom is
// called, or until the spec is over.
func fillRedis(ctx context.Context) (makeRoom func(context.Context)) {
	GinkgoHelper()
	Expect(cache.ConfigGet(ctx, "maxmemory-policy").Val()).To(HaveKeyWithValue("maxmemory-policy", "noeviction"), "Redis would evict")
	makeRoom = func(ctx context.Context) {
		GinkgoHelper()
		Expect(cache.ConfigSet(ctx, "maxmemory", "0").Err()).To(Succeed())
	}
	DeferCleanup(func(ctx SpecContext) { makeRoom(ctx) })
	Expect(cache.ConfigSet(ctx, "maxmemory", "1").Err()).To(Succeed())
	return makeRoom
}

// hoard is every connection that PostgreSQL had left.
type hoard struct {
	mu    sync.Mutex
	conns []*pgx.Conn
}

// grab takes connections until there are none.
func (h *hoard) grab(ctx context.Context) {
	GinkgoHelper()
	cfg := database.Config().ConnConfig.Copy()
	cfg.Database = "postgres"
	cfg.RuntimeParams["application_name"] = hoarder
	InParallel(4, func() {
		for {
			conn, err := pgx.ConnectConfig(ctx, cfg)
			if refusal := (*pgconn.PgError)(nil); errors.As(err, &refusal) && refusal.Code == "53300" {
				return
			}
			Expect(err).NotTo(HaveOccurred())
			h.mu.Lock()
			h.conns = append(h.conns, conn)
			h.mu.Unlock()
		}
	})
}

func (h *hoard) release(ctx context.Context) {
	GinkgoHelper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, conn := range h.conns {
		Expect(conn.Close(ctx)).To(Succeed())
	}
	h.conns = nil
}

// warmUp has DataStorage open the sessions of its pool anew, so that none of
// them reaches the end of its lifetime while a spec counts on it.
func warmUp(ctx context.Context, admin *pgxpool.Pool) {
	GinkgoHelper()
	terminate(ctx, admin)
	Eventually(func(g Gomega) {
		InParallel(50, func() { status(ctx, EventsPath+"?limit=1") })
		g.Expect(status(ctx, "/health")).To(Equal(http.StatusOK))
		g.Expect(sessions(ctx, admin, "datastorage")).To(BeNumerically(">=", 5))
	}).WithContext(ctx).WithTimeout(recovery).Should(Succeed())
}

// lockEvents has every insert wait until release is called, or the spec is over.
func lockEvents(ctx context.Context) (release func()) {
	GinkgoHelper()
	tx, err := database.Begin(ctx)
	Expect(err).NotTo(HaveOccurred())
	release = sync.OnceFunc(func() { _ = tx.Rollback(context.WithoutCancel(ctx)) })
	DeferCleanup(release)
	_, err = tx.Exec(ctx, `LOCK TABLE audit_events IN SHARE MODE`)
	Expect(err).NotTo(HaveOccurred())
	return release
}
