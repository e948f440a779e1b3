package contextapi_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/contextapi"
	. "github.com/kubernaut/workspace/test/support"
)

var _ = Describe("The ground of a worker", func() {
	It("is the database that has its number", func(ctx SpecContext) {
		Expect(one[string](ctx, `SELECT current_database()`)).To(Equal(OfWorker("POSTGRES_DB")))
		Expect(ofOthers("POSTGRES_DB")).NotTo(ContainElement(OfWorker("POSTGRES_DB")))
	})

	It("has what it writes into PostgreSQL to itself", func(ctx SpecContext) {
		mine := action{name: UniqueID("api")}
		remember(ctx, mine)
		Expect(one[int](ctx, `SELECT count(*) FROM resource_references WHERE name = $1`, mine.name)).To(Equal(1))
		for variable, name := range ofOthers("POSTGRES_DB") {
			var seen int
			other := OpenDatabase(ctx, name)
			Expect(other.QueryRow(ctx, `SELECT count(*) FROM resource_references WHERE name = $1`, mine.name).Scan(&seen)).To(Succeed())
			Expect(seen).To(BeZero(), "seen in %s, the database of %s", name, variable)
		}
	})

	It("has the schema of the last migration", func(ctx SpecContext) {
		Expect(one[int](ctx, `SELECT max(version) FROM schema_version`)).To(Equal(1000))
	})

	It("counts the actions of a resource as the migrations say", func(ctx SpecContext) {
		actions := series(3)
		remember(ctx, actions...)
		Expect(one[int](ctx, `SELECT total_actions FROM action_histories`)).To(Equal(3))
		Expect(one[bool](ctx, `SELECT last_action_at = $1 FROM action_histories`, actions[2].at)).To(BeTrue())
	})

	It("has what it writes into Redis to itself", func(ctx SpecContext) {
		key := prefix()
		Expect(cache.Set(ctx, key, "mine", 0).Err()).To(Succeed())
		DeferCleanup(func(ctx context.Context) { cache.Del(ctx, key) })
		Expect(cache.Get(ctx, key).Result()).To(Equal("mine"))
		for variable, db := range ofOthers("REDIS_DB") {
			other := contextapi.NewRedis(Required("REDIS_ADDR"), number(db))
			DeferCleanup(other.Close)
			Expect(other.Exists(ctx, key).Result()).To(BeZero(), "seen in Redis database %s, that of %s", db, variable)
		}
	})

	It("numbers its actions within its own range", func(ctx SpecContext) {
		for _, id := range remember(ctx, series(5)...) {
			Expect(id).To(And(BeNumerically(">=", offset), BeNumerically("<", offset+rangeSize)))
		}
	})

	It("has a range and a name that no other has", func() {
		for variable, other := range ofOthers("CACHE_OFFSET") {
			distance := max(offset-number(other), number(other)-offset)
			Expect(distance).To(BeNumerically(">=", rangeSize), "%s=%s overlaps %d", variable, other, offset)
		}
		Expect(ofOthers("NAMESPACE")).NotTo(ContainElement(namespace))
	})
})

// one reads a single value.
func one[T any](ctx context.Context, query string, args ...any) T {
	GinkgoHelper()
	var value T
	Expect(database.QueryRow(ctx, query, args...).Scan(&value)).To(Succeed())
	return value
}
