package contextapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kubernaut/workspace/pkg/problem"
)

// Paths of the API. An answer from a cache has the tier in TierHeader.
const (
	ActionsPath      = "/api/v1/context/actions"
	SimilarPath      = "/api/v1/context/similar"
	RatesPath        = "/api/v1/context/success-rates"
	StatisticsPath   = "/api/v1/context/statistics"
	InvalidationPath = "/api/v1/context/invalidations"
	HealthPath       = "/health"

	TierHeader = "X-Context-Tier"
)

// Handler has every error answered as a problem, also those of the router.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range []struct {
		method, path string
		answer       func(w http.ResponseWriter, r *http.Request) error
	}{
		{http.MethodGet, ActionsPath, s.listActions},
		{http.MethodGet, ActionsPath + "/{id}", s.getAction},
		{http.MethodPost, SimilarPath, s.findSimilar},
		{http.MethodGet, RatesPath, s.listRates},
		{http.MethodGet, StatisticsPath, s.getStatistics},
		{http.MethodPost, InvalidationPath, s.invalidate},
		{http.MethodGet, HealthPath, s.health},
	} {
		mux.HandleFunc(route.method+" "+route.path, func(w http.ResponseWriter, r *http.Request) {
			if err := route.answer(w, r); err != nil {
				problemOf(err).Write(w, r)
			}
		})
		mux.HandleFunc(route.path, methodNotAllowed(route.method))
	}
	mux.HandleFunc("/", notFound)
	return mux
}

// problemOf keeps what only concerns us out of the answer.
func problemOf(err error) *problem.Problem {
	known, refused := (*problem.Problem)(nil), (*pgconn.PgError)(nil)
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, ErrNotFound):
		return problem.New(http.StatusNotFound, "action-not-found", "Action not found", err.Error())
	case errors.As(err, &refused):
		slog.Error("context: PostgreSQL refused a query", "error", err)
		return problem.New(http.StatusInternalServerError, "internal-error", "Internal error", "the history cannot be read")
	}
	slog.Warn("context: the history cannot be reached", "error", err)
	return problem.New(http.StatusServiceUnavailable, "history-unavailable", "History unavailable", "the history cannot be reached now")
}

func methodNotAllowed(allowed string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allowed)
		problem.New(http.StatusMethodNotAllowed, "method-not-allowed", "Method not allowed",
			fmt.Sprintf("%s is not %s", r.Method, allowed)).Write(w, r)
	}
}

func notFound(w http.ResponseWriter, r *http.Request) {
	problem.New(http.StatusNotFound, "not-found", "Not found", "there is nothing at "+r.URL.Path).Write(w, r)
}

func (s *Service) listActions(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r.URL.Query(), "limit", "offset")
	if err != nil {
		return err
	}
	page, tier, err := s.Actions(r.Context(), q)
	return answer(w, tier, page, err)
}

func (s *Service) getAction(w http.ResponseWriter, r *http.Request) error {
	action, err := s.Action(r.Context(), r.PathValue("id"))
	return answer(w, FromDatabase, action, err)
}

type data[T any] struct {
	Data []T `json:"data"`
}

func (s *Service) findSimilar(w http.ResponseWriter, r *http.Request) error {
	q, err := readSearch(w, r)
	if err != nil {
		return err
	}
	matches, tier, err := s.Similar(r.Context(), q)
	return answer(w, tier, data[Match]{matches}, err)
}

func (s *Service) listRates(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r.URL.Query(), "group_by")
	if err != nil {
		return err
	}
	rates, tier, err := s.SuccessRates(r.Context(), q, r.URL.Query().Get("group_by"))
	return answer(w, tier, data[Rate]{rates}, err)
}

func (s *Service) getStatistics(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		return err
	}
	statistics, tier, err := s.Statistics(r.Context(), q)
	return answer(w, tier, statistics, err)
}

func (s *Service) invalidate(w http.ResponseWriter, r *http.Request) error {
	var asked struct {
		Namespace string `json:"namespace"`
	}
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	if err := s.Cache.Invalidate(r.Context(), asked.Namespace); err != nil {
		slog.Warn("context: not invalidated everywhere", "error", err)
		return problem.New(http.StatusServiceUnavailable, "cache-unavailable", "Cache unavailable",
			"what is in Redis may be served again when it is back, until its time is over")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

type health struct {
	Status   string `json:"status"`
	Database string `json:"database"`
	Redis    string `json:"redis"`
}

// health is degraded without Redis, which is no reason to take us out of service.
func (s *Service) health(w http.ResponseWriter, r *http.Request) error {
	state, status := health{"healthy", "connected", "connected"}, http.StatusOK
	if s.Cache.Ping(r.Context()) != nil {
		state.Status, state.Redis = "degraded", "disconnected"
	}
	if s.Source.Ping(r.Context()) != nil {
		state.Status, state.Database, status = "unhealthy", "disconnected", http.StatusServiceUnavailable
	}
	writeJSON(w, status, state)
	return nil
}

func answer(w http.ResponseWriter, tier Tier, body any, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set(TierHeader, string(tier))
	writeJSON(w, http.StatusOK, body)
	return nil
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The status is out: a client that is gone cannot be told.
	_ = json.NewEncoder(w).Encode(body)
}
