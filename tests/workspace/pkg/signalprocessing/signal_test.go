package signalprocessing

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/kubernaut/workspace/pkg/audit"
)

func signal() Signal {
	return Signal{ID: "s-1", Source: "prometheus", Name: "HighMemoryUsage", Severity: "critical", Namespace: "prod-shop", Kind: "pod", Object: "web-1"}
}

func TestNormalizeMakesSignalsAlike(t *testing.T) {
	got, err := Normalize(Signal{
		ID: "s-1", Source: "Prometheus", Name: " HighMemoryUsage ", Severity: "CRITICAL", Namespace: "prod-shop\n", Kind: "Pod", Object: "web-1",
	})
	if err != nil || got != signal() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNormalizeSaysAllThatIsMissing(t *testing.T) {
	_, err := Normalize(Signal{ID: "s-1", Name: "x", Kind: "  "})
	if err == nil || err.Error() != "signal s-1 has no kind, namespace, object" {
		t.Error(err)
	}
}

func TestFingerprint(t *testing.T) {
	base := Fingerprint(signal(), Context{})
	for name, test := range map[string]struct {
		change func(*Signal)
		same   bool
	}{
		"source":    {func(s *Signal) { s.Source = "kubernetes" }, true},
		"severity":  {func(s *Signal) { s.Severity = "low" }, true},
		"start":     {func(s *Signal) { s.Starts = time.Now() }, true},
		"name":      {func(s *Signal) { s.Name = "CrashLoopBackOff" }, false},
		"namespace": {func(s *Signal) { s.Namespace = "prod-pay" }, false},
		"object":    {func(s *Signal) { s.Object = "web-2" }, false},
		"boundary":  {func(s *Signal) { s.Name, s.Namespace = "HighMemoryUsagep", "rod-shop" }, false},
	} {
		s := signal()
		test.change(&s)
		if got := Fingerprint(s, Context{}); (got == base) != test.same {
			t.Errorf("%s: %s and %s", name, base, got)
		}
	}
}

func TestPodsOfOneOwnerHaveOneFingerprint(t *testing.T) {
	a, b := signal(), signal()
	b.Object = "web-2"
	if c := (Context{Owner: "deployment/web"}); Fingerprint(a, c) != Fingerprint(b, c) {
		t.Error("they have two")
	}
}

func TestClassify(t *testing.T) {
	for _, test := range []struct{ severity, namespace, label, want string }{
		{"critical", "prod-shop", "", "P0 (critical in production)"},
		{"warn", "shop-staging", "", "P3 (medium in staging)"},
		{"page", "dev-prod", "", "P2 (critical in development)"}, // the first word that says something
		{"page", "reproduction", "", "P1 (critical in unknown)"},
		{"page", "shop", "Production", "P0 (critical in production)"},
		{"page", "prod-shop", "dev", "P2 (critical in development)"},
		{"page", "prod-shop", "moon", "P0 (critical in production)"},
		{"strange", "prod-shop", "", "P1 (unknown in production)"},
		{"low", "dev-shop", "", "P3 (low in development)"},
	} {
		s := signal()
		s.Severity, s.Namespace = test.severity, test.namespace
		c := Context{NamespaceLabels: map[string]string{EnvironmentLabel: test.label}}
		if got := Classify(s, c).String(); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func TestUnknownIsNeverHarmless(t *testing.T) {
	if ranks[Unknown] >= ranks["medium"] || distance[Unknown] >= distance["development"] {
		t.Errorf("%v, %v", ranks, distance)
	}
}

type fake struct {
	events  []audit.Event
	failure error // of everything that can fail
}

func (f *fake) Record(e audit.Event) error {
	e.Version = audit.Version
	f.events = append(f.events, e)
	return nil
}
func (f *fake) Lookup(context.Context, string, string, string) (Context, error) {
	return Context{}, f.failure
}
func (f *fake) Take(context.Context, Processed) error { return nil }
func (f *fake) Enter(context.Context, string, int) (int64, bool, error) {
	return 1, f.failure == nil, f.failure
}
func (f *fake) Leave(context.Context, string) error { return f.failure }

func TestSignalIsForwardedWithoutClusterAndWindow(t *testing.T) {
	f := &fake{failure: errors.New("connection refused")}
	p := Processor{Cluster: f, Classify: Classify, Window: f, Sink: f, Audit: f, Now: time.Now}
	done, err := p.Process(context.Background(), signal())
	if err != nil || done.Duplicate || !slices.Equal(done.Degraded, []string{"cluster", "window"}) {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestEveryEventIsValid(t *testing.T) {
	f := &fake{}
	p := Processor{Cluster: f, Classify: Classify, Window: f, Sink: f, Audit: f, Now: time.Now}
	for _, s := range []Signal{signal(), {ID: "s-2"}} {
		_, _ = p.Process(context.Background(), s)
	}
	if len(f.events) != 6 {
		t.Errorf("%d events", len(f.events))
	}
	for _, e := range f.events {
		if errs := e.Validate(); len(errs) > 0 {
			t.Errorf("%s: %v", e.Type, errs)
		}
	}
}
