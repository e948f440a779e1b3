package contextapi_test

import (
	"context"
	"math"
	"net/url"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/kubernaut/workspace/pkg/contextapi"
)

// noon is when the actions of a spec happen that says nothing else.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// action is what a spec has to say of one; the rest is filled in.
type action struct {
	cluster, namespace, kind, name, kindOf, status, parameters string

	at        time.Time
	score     float64 // 0: not judged
	embedding []float32
	model     string
}

const insertTrace = `
	WITH resource AS (
		INSERT INTO resource_references (cluster, namespace, kind, name) VALUES ($1, $2, $3, $4)
		ON CONFLICT (cluster, namespace, kind, name) DO UPDATE SET name = EXCLUDED.name RETURNING id
	), history AS (
		INSERT INTO action_histories (resource_id) SELECT id FROM resource
		ON CONFLICT (resource_id) DO UPDATE SET resource_id = EXCLUDED.resource_id RETURNING id
	)
	INSERT INTO action_traces (action_history_id, action_type, action_timestamp, action_parameters, status, effectiveness_score)
	SELECT id, $5, $6, $7, $8::text::execution_status, nullif($9::float8, 0) FROM history RETURNING id`

// remember writes actions into the history, and returns their ids.
func remember(ctx context.Context, actions ...action) []int64 {
	GinkgoHelper()
	ids := make([]int64, len(actions))
	for i, a := range actions {
		if a.at.IsZero() {
			a.at = noon
		}
		Expect(database.QueryRow(ctx, insertTrace, or(a.cluster, "east"), or(a.namespace, "payments"), or(a.kind, "Deployment"),
			or(a.name, "api"), or(a.kindOf, "restart"), a.at, or(a.parameters, "{}"), or(a.status, "completed"), a.score,
		).Scan(&ids[i])).To(Succeed())
		if a.embedding == nil {
			continue
		}
		_, err := database.Exec(ctx, `INSERT INTO action_embeddings VALUES ($1, $2, $3::text::vector)`,
			ids[i], or(a.model, contextapi.Model), contextapi.Vector(a.embedding))
		Expect(err).NotTo(HaveOccurred())
	}
	return ids
}

func or(value, unset string) string {
	if value == "" {
		return unset
	}
	return value
}

// series is n actions, a minute between each and the next, the oldest first.
func series(n int) []action {
	actions := make([]action, n)
	for i := range actions {
		actions[i].at = noon.Add(time.Duration(i) * time.Minute)
	}
	return actions
}

// ids of actions, in their order.
func ids(actions []contextapi.Action) []int64 {
	ids := make([]int64, len(actions))
	for i, a := range actions {
		ids[i] = a.ID
	}
	return ids
}

// list reads a page over HTTP: key, value, key, value.
func (r *replica) list(ctx context.Context, filter ...string) contextapi.Page {
	GinkgoHelper()
	return get[contextapi.Page](ctx, r, contextapi.ActionsPath, filter...)
}

func get[T any](ctx context.Context, r *replica, path string, parameters ...string) T {
	GinkgoHelper()
	values := url.Values{}
	for i := 0; i < len(parameters); i += 2 {
		values.Set(parameters[i], parameters[i+1])
	}
	resp := r.api.Get(ctx, path+"?"+values.Encode())
	Expect(resp.Status).To(Equal(200), "%s", resp.Body)
	var found T
	resp.Decode(&found)
	return found
}

// towards is a vector that has an angle, in degrees, to the first axis.
func towards(degrees float64) []float32 {
	v := make([]float32, contextapi.Dimensions)
	v[0], v[1] = float32(math.Cos(degrees*math.Pi/180)), float32(math.Sin(degrees*math.Pi/180))
	return v
}

// watched is a source whose queries are counted, held up by before and failed by after.
type watched struct {
	contextapi.Source
	queries atomic.Int64 // begun
	read    atomic.Int64 // answered by the source
	before  func()
	after   func() error
}

// watch is a query of w: what it reads is read between before and after.
func watch[T any](w *watched, read func() (T, error)) (T, error) {
	w.queries.Add(1)
	if w.before != nil {
		w.before()
	}
	found, err := read()
	w.read.Add(1)
	if err == nil && w.after != nil {
		err = w.after()
	}
	return found, err
}

func (w *watched) Actions(ctx context.Context, q contextapi.Query) (contextapi.Page, error) {
	return watch(w, func() (contextapi.Page, error) { return w.Source.Actions(ctx, q) })
}

func (w *watched) Similar(ctx context.Context, q contextapi.SimilarQuery) ([]contextapi.Match, error) {
	return watch(w, func() ([]contextapi.Match, error) { return w.Source.Similar(ctx, q) })
}

func (w *watched) SuccessRates(ctx context.Context, q contextapi.Query, by string) ([]contextapi.Rate, error) {
	return watch(w, func() ([]contextapi.Rate, error) { return w.Source.SuccessRates(ctx, q, by) })
}

func (w *watched) Statistics(ctx context.Context, q contextapi.Query) (contextapi.Statistics, error) {
	return watch(w, func() (contextapi.Statistics, error) { return w.Source.Statistics(ctx, q) })
}
