package datastorage_test

import (
	"context"
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	. "github.com/kubernaut/workspace/test/support"
)

// The other outages are played: PostgreSQL is there and refuses, which is quick
// and says which connection was lost. In these the server itself is away.
var _ = Describe("While the server itself is away", Serial, func() {
	var admin *pgxpool.Pool

	BeforeEach(func(ctx SpecContext) { admin = openAdmin(ctx) })

	// back starts a server and has the suite's own connections made anew.
	back := func(ctx context.Context, gone ...Component) {
		GinkgoHelper()
		for _, component := range gone {
			component.Start(ctx)
		}
		admin.Reset()
		database.Reset()
		expectHealed(ctx)
	}

	It("DataStorage is unhealthy when PostgreSQL has ended, and healthy when it is back", func(ctx SpecContext) {
		Postgres.Kill(ctx, "INT")
		Eventually(ctx, status).WithArguments("/health").WithTimeout(recovery).Should(Equal(http.StatusServiceUnavailable))
		Expect(status(ctx, "/health/live")).To(Equal(http.StatusOK))
		back(ctx, Postgres)
	})

	It("an event waits in Redis when PostgreSQL has ended, and is stored when it is back", func(ctx SpecContext) {
		Postgres.Kill(ctx, "INT")
		e := newEvent()
		Expect(receiptOf(storage.Post(ctx, EventsPath, e), http.StatusAccepted).Status).To(Equal("queued"))
		Expect(waiting(ctx)).To(Equal(ids(e)))
		back(ctx, Postgres)
		Expect(waiting(ctx)).To(BeEmpty())
		Expect(stored(ctx, e).IDs()).To(Equal(ids(e)))
	})

	It("an event waits in Redis when PostgreSQL hangs, and is stored once when it goes on", func(ctx SpecContext) {
		Postgres.Pause(ctx)
		e := newEvent()
		receiptOf(storage.Post(ctx, EventsPath, e), http.StatusAccepted)
		Expect(waiting(ctx)).To(Equal(ids(e)))
		back(ctx, Postgres)
		Expect(stored(ctx, e).IDs()).To(Equal(ids(e)))
	})

	It("what was on disk when PostgreSQL was killed is there when it is back", func(ctx SpecContext) {
		e := newEvent()
		receiptOf(storage.Post(ctx, EventsPath, e), http.StatusCreated)
		// synchronous_commit is off in the stack: what was committed within the last 0.6 s a SIGKILL takes with it.
		_, err := admin.Exec(ctx, `CHECKPOINT`)
		Expect(err).NotTo(HaveOccurred())
		Postgres.Kill(ctx, "KILL")
		back(ctx, Postgres)
		Expect(stored(ctx, e).IDs()).To(Equal(ids(e)))
	})

	It("an event is stored as ever when Redis has ended", func(ctx SpecContext) {
		Redis.Kill(ctx, "KILL")
		e := newEvent()
		receiptOf(storage.Post(ctx, EventsPath, e), http.StatusCreated)
		back(ctx, Redis)
		Expect(stored(ctx, e).IDs()).To(Equal(ids(e)))
	})

	It("an event is refused rather than lost when both have ended", func(ctx SpecContext) {
		Postgres.Kill(ctx, "INT")
		Redis.Kill(ctx, "KILL")
		e := newEvent()
		Expect(storage.Post(ctx, EventsPath, e).Status).To(Equal(http.StatusInternalServerError))
		back(ctx, Redis, Postgres)
		Expect(stored(ctx, e).Data).To(BeEmpty())
	})
})
