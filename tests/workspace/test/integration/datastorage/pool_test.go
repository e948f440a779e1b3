package datastorage_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/audit"
	. "github.com/kubernaut/workspace/test/support"
)

const maxOpenConns = 25 // of DataStorage's configuration

var _ = Describe("The pool of connections to PostgreSQL", Serial, func() {
	var admin *pgxpool.Pool

	BeforeEach(func(ctx SpecContext) {
		admin = openAdmin(ctx)
		warmUp(ctx, admin)
	})

	It("has room beside it: PostgreSQL allows 200 connections", func(ctx SpecContext) {
		Expect(one[string](ctx, admin, `SHOW max_connections`)).To(Equal("200"))
	})

	It("opens 25 for 100 writers at once and no more, and all of them are answered 201", func(ctx SpecContext) {
		release := lockEvents(ctx)
		events := series(100)
		done := inBackground(func() { expectAllStored(ctx, events) })
		Eventually(ctx, waitingForLock, "10s", "2ms").WithArguments(admin).Should(BeNumerically(">=", maxOpenConns))
		Consistently(ctx, sessions, "300ms", "5ms").WithArguments(admin, "datastorage").Should(BeNumerically("<=", maxOpenConns))
		release()
		Eventually(ctx, done).WithTimeout(recovery).Should(BeClosed())
		Expect(stored(ctx, events[0]).Pagination.Total).To(Equal(100))
	})

	It("never has more than 25 while 100 writers go on", func(ctx SpecContext) {
		var most atomic.Int64
		rest, stop := context.WithCancel(ctx)
		watched := inBackground(func() {
			for rest.Err() == nil {
				most.Store(max(most.Load(), int64(sessions(ctx, admin, "datastorage"))))
			}
		})
		DeferCleanup(stop)
		events := series(400)
		expectAllStored(ctx, events)
		stop()
		<-watched
		Expect(most.Load()).To(And(BeNumerically(">", 1), BeNumerically("<=", maxOpenConns)))
		Expect(stored(ctx, events[0]).Pagination.Total).To(Equal(400))
	})
})

var _ = Describe("With every connection of PostgreSQL taken by others", Serial, Ordered, func() {
	var (
		admin  *pgxpool.Pool
		others hoard
		queued []audit.Event
	)

	BeforeAll(func(ctx SpecContext) {
		admin = openAdmin(ctx)
		one[int](ctx, database, `SELECT 1`) // the suite's own session has to be there before
		warmUp(ctx, admin)
		DeferCleanup(func(ctx SpecContext) { others.release(ctx) })
		others.grab(ctx)
	})

	It("DataStorage is healthy, and stores and finds with the connections that it has", func(ctx SpecContext) {
		for _, e := range series(10) {
			receiptOf(storage.Post(ctx, EventsPath, e), http.StatusCreated)
			Expect(stored(ctx, e).IDs()).To(ContainElement(e.ID))
		}
		Expect(status(ctx, "/health")).To(Equal(http.StatusOK))
	})

	It("DataStorage queues events when it has lost its own, and is unhealthy", func(ctx SpecContext) {
		Eventually(func() int {
			terminate(ctx, admin)
			others.grab(ctx)
			return sessions(ctx, admin, "datastorage")
		}).WithContext(ctx).WithTimeout(recovery).Should(BeZero())
		queued = series(10)
		for _, e := range queued {
			receiptOf(storage.Post(ctx, EventsPath, e), http.StatusAccepted)
		}
		Expect(status(ctx, "/health")).To(Equal(http.StatusServiceUnavailable))
		Expect(waiting(ctx)).To(Equal(ids(queued...)))
	})

	It("DataStorage has lost nothing when it gets connections again", func(ctx SpecContext) {
		others.release(ctx)
		expectHealed(ctx)
		Expect(stored(ctx, queued[0]).IDs()).To(ConsistOf(ids(queued...)))
		receiptOf(storage.Post(ctx, EventsPath, newEvent()), http.StatusCreated)
	})
})

// waitingForLock counts DataStorage's sessions that wait for a table.
func waitingForLock(ctx context.Context, admin *pgxpool.Pool) int {
	GinkgoHelper()
	return one[int](ctx, admin, `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'datastorage' AND wait_event_type = 'Lock'`)
}

// expectAllStored has 100 writers send the events.
func expectAllStored(ctx context.Context, events []audit.Event) {
	GinkgoHelper()
	unsent := make(chan audit.Event, len(events))
	for _, e := range events {
		unsent <- e
	}
	close(unsent)
	var answers tally
	InParallel(100, func() {
		for e := range unsent {
			answers.add(storage.Post(ctx, EventsPath, e).Status)
		}
	})
	Expect(answers.counts).To(Equal(map[int]int{http.StatusCreated: len(events)}))
}

// keepPosting has 10 writers send one new event after another until stop is
// called, or until the spec is over.
func keepPosting(ctx context.Context, correlationID string, answers *tally) (stop func()) {
	rest, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := inBackground(func() {
		InParallel(10, func() {
			for rest.Err() == nil {
				e := newEvent()
				e.CorrelationID = correlationID
				answers.add(storage.Post(ctx, EventsPath, e).Status)
			}
		})
	})
	stop = func() {
		cancel()
		<-done
	}
	DeferCleanup(stop)
	return stop
}

// tally counts answers by their status.
type tally struct {
	mu     sync.Mutex
	counts map[int]int
}

func (t *tally) add(status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[int]int{}
	}
	t.counts[status]++
}

func (t *tally) of(status int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[status]
}

// inBackground closes done when f has ended, failed or not. The spec does not
// end before it: a failure would be that of another one.
func inBackground(f func()) (done chan struct{}) {
	done = make(chan struct{})
	DeferCleanup(func(ctx SpecContext) { Eventually(ctx, done).WithTimeout(recovery).Should(BeClosed()) })
	go func() {
		defer close(done)
		defer GinkgoRecover()
		f()
	}()
	return done
}
