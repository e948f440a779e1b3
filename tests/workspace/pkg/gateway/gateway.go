package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"

	"github.com/kubernaut/workspace/pkg/problem"
)

// Paths of the API.
const (
	PrometheusPath = "/api/v1/signals/prometheus"
	EventPath      = "/api/v1/signals/kubernetes-event"
	WindowsPath    = "/api/v1/windows"
	HealthPath     = "/health"

	maxBodyBytes = 1 << 20
)

// Remediation is one that is to begin. For a storm, its signal is the first.
type Remediation struct {
	ID          string
	Fingerprint string
	Storm       bool
	Signal      Signal
}

// Creator begins remediations; a cluster in life.
type Creator interface {
	Create(ctx context.Context, r Remediation) error
}

// Gateway is the HTTP API.
type Gateway struct {
	Dedup   *Deduplicator
	Creator Creator
}

// Take decides what a signal leads to, and has that begun. What could not be
// begun is not held against the next signal of the same incident.
func (g *Gateway) Take(ctx context.Context, s Signal) (Decision, error) {
	if s.Resolved {
		return g.resolve(ctx, s)
	}
	decision, err := g.Dedup.Admit(ctx, s)
	if err != nil {
		return decision, err
	}
	if decision.Outcome != Created && decision.Outcome != StormStarted {
		return decision, nil
	}
	err = g.Creator.Create(ctx, Remediation{
		ID: decision.Remediation, Fingerprint: decision.Fingerprint, Storm: decision.Outcome == StormStarted, Signal: s,
	})
	if err != nil {
		err = fmt.Errorf("create %s: %w", decision.Remediation, err)
		return decision, errors.Join(err, g.Dedup.Release(context.WithoutCancel(ctx), s, decision.Remediation))
	}
	return decision, nil
}

func (g *Gateway) resolve(ctx context.Context, s Signal) (Decision, error) {
	decision := Decision{Fingerprint: s.fingerprint(g.Dedup.Fault), Outcome: Ignored}
	ended, err := g.Dedup.Resolve(ctx, s)
	if ended {
		decision.Outcome = Resolved
	}
	return decision, err
}

// Handler has every error answered as a problem, also those of the router.
func (g *Gateway) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(method, path string, handler http.HandlerFunc) {
		mux.HandleFunc(method+" "+path, handler)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", method)
			problem.New(http.StatusMethodNotAllowed, "method-not-allowed", "Method not allowed", r.Method+" is not "+method).Write(w, r)
		})
	}
	handle(http.MethodPost, PrometheusPath, g.prometheus)
	handle(http.MethodPost, EventPath, g.kubernetesEvent)
	handle(http.MethodGet, WindowsPath+"/{fingerprint}", g.window)
	handle(http.MethodGet, HealthPath, g.health)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem.New(http.StatusNotFound, "not-found", "Not found", "there is nothing at "+r.URL.Path).Write(w, r)
	})
	return mux
}

func (g *Gateway) prometheus(w http.ResponseWriter, r *http.Request) {
	var hook webhook
	if refusal := readJSON(w, r, &hook); refusal != nil {
		refusal.Write(w, r)
		return
	}
	signals, errs := hook.signals()
	if len(errs) > 0 {
		problem.Invalid(errs).Write(w, r)
		return
	}
	g.takeAll(w, r, signals)
}

func (g *Gateway) kubernetesEvent(w http.ResponseWriter, r *http.Request) {
	var e event
	if refusal := readJSON(w, r, &e); refusal != nil {
		refusal.Write(w, r)
		return
	}
	signal, errs := e.signal()
	switch {
	case len(errs) > 0:
		problem.Invalid(errs).Write(w, r)
	case e.normal():
		answer(w, http.StatusAccepted, decisions{{Fingerprint: signal.Fingerprint(), Outcome: Ignored}})
	default:
		g.takeAll(w, r, []Signal{signal})
	}
}

type decisions []Decision

func (d decisions) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string][]Decision{"decisions": d})
}

// takeAll stops at the first that fails: the sender sends all of them again, and
// those that were taken are duplicates then.
func (g *Gateway) takeAll(w http.ResponseWriter, r *http.Request, signals []Signal) {
	taken, status := make(decisions, len(signals)), http.StatusAccepted
	for i, signal := range signals {
		decision, err := g.Take(r.Context(), signal)
		if err != nil {
			unavailable(err).Write(retryLater(w), r)
			return
		}
		if decision.Outcome == Created || decision.Outcome == StormStarted {
			status = http.StatusCreated
		}
		taken[i] = decision
	}
	answer(w, status, taken)
}

func retryLater(w http.ResponseWriter) http.ResponseWriter {
	w.Header().Set("Retry-After", "5")
	return w
}

// unavailable keeps what only concerns us out of the answer.
func unavailable(err error) *problem.Problem {
	slog.Warn("gateway: a signal was not taken", "error", err)
	return problem.New(http.StatusServiceUnavailable, "gateway-unavailable", "Gateway unavailable",
		"the signal was not taken; send it again")
}

func (g *Gateway) window(w http.ResponseWriter, r *http.Request) {
	found, err := g.Dedup.Look(r.Context(), r.PathValue("fingerprint"))
	switch {
	case errors.Is(err, ErrNoWindow):
		problem.New(http.StatusNotFound, "window-not-found", "Window not found", err.Error()).Write(w, r)
	case err != nil:
		unavailable(err).Write(retryLater(w), r)
	default:
		answer(w, http.StatusOK, found)
	}
}

func (g *Gateway) health(w http.ResponseWriter, r *http.Request) {
	if err := g.Dedup.Redis.Ping(r.Context()).Err(); err != nil {
		answer(w, http.StatusServiceUnavailable, map[string]string{"status": "unhealthy", "redis": "disconnected"})
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "healthy", "redis": "connected"})
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) *problem.Problem {
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType != "application/json" {
		return problem.New(http.StatusUnsupportedMediaType, "unsupported-media-type", "Unsupported media type",
			fmt.Sprintf("the body must be application/json, not %q", r.Header.Get("Content-Type")))
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes)).Decode(into)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return problem.New(http.StatusRequestEntityTooLarge, "body-too-large", "Body too large",
			fmt.Sprintf("the body must have at most %d bytes", tooLarge.Limit))
	}
	if err != nil {
		return problem.New(http.StatusBadRequest, "malformed-json", "Malformed JSON", err.Error())
	}
	return nil
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The status is out: a client that is gone cannot be told.
	_ = json.NewEncoder(w).Encode(body)
}
