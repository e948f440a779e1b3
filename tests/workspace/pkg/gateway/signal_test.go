package gateway

import (
	"slices"
	"testing"

	"github.com/kubernaut/workspace/pkg/problem"
)

func firing(labels ...string) alert {
	a := alert{Status: "firing", Labels: map[string]string{"alertname": "HighMemory", "namespace": "payments"}}
	for i := 0; i < len(labels); i += 2 {
		a.Labels[labels[i]] = labels[i+1]
	}
	return a
}

func TestAnAlertIsAboutTheMostExactResourceThatItNames(t *testing.T) {
	for _, c := range []struct {
		labels         []string
		kind, resource string
	}{
		{[]string{"node", "n1", "deployment", "api", "pod", "api-1"}, "Pod", "api-1"},
		{[]string{"node", "n1", "deployment", "api"}, "Deployment", "api"},
		{[]string{"statefulset", "db"}, "StatefulSet", "db"},
		{[]string{"persistentvolumeclaim", "data", "node", "n1"}, "PersistentVolumeClaim", "data"},
		{[]string{"node", "n1"}, "Node", "n1"},
	} {
		signal, errs := firing(c.labels...).signal()
		if signal.Kind != c.kind || signal.Resource != c.resource || len(errs) > 0 {
			t.Errorf("%v: %s %s, %v", c.labels, signal.Kind, signal.Resource, errs)
		}
	}
}

func TestAnAlertIsToldAllThatIsWrong(t *testing.T) {
	_, errs := alert{Status: "burning", Labels: map[string]string{"severity": "page"}}.signal()
	if got := names(errs); !slices.Equal(got, []string{"status", "labels.alertname", "labels.severity", "labels"}) {
		t.Error(got)
	}
}

func TestAnAlertWithoutSeverityIsAWarning(t *testing.T) {
	if signal, errs := firing("pod", "api-1").signal(); signal.Severity != "warning" || len(errs) > 0 {
		t.Errorf("%q, %v", signal.Severity, errs)
	}
}

func TestAnErrorSaysWhichAlertOfAWebhookItIsIn(t *testing.T) {
	_, errs := webhook{Alerts: []alert{firing("pod", "api-1"), firing()}}.signals()
	if got := names(errs); !slices.Equal(got, []string{"alerts[1].labels"}) {
		t.Error(got)
	}
	if _, errs = (webhook{}).signals(); !slices.Equal(names(errs), []string{"alerts"}) {
		t.Error(errs)
	}
}

func TestAFingerprintIsOfWhatHappenedToWhat(t *testing.T) {
	base := Signal{Source: "prometheus", Name: "HighMemory", Namespace: "payments", Kind: "Pod", Resource: "api-1"}
	same := base
	same.Severity, same.Message, same.Resolved = "critical", "worse", true
	if base.Fingerprint() != same.Fingerprint() {
		t.Error("severity, message or state are in the fingerprint")
	}
	seen := map[string]Signal{base.Fingerprint(): base}
	for _, change := range []func(*Signal){
		func(s *Signal) { s.Source = "kubernetes-event" }, func(s *Signal) { s.Name = "HighCPU" }, func(s *Signal) { s.Namespace = "orders" },
		func(s *Signal) { s.Kind = "Deployment" }, func(s *Signal) { s.Resource = "api-2" },
		func(s *Signal) { s.Kind, s.Resource = "Po", "dapi-1" }, // the same letters, otherwise divided
	} {
		other := base
		change(&other)
		if twin, ok := seen[other.Fingerprint()]; ok {
			t.Errorf("%+v and %+v are the same", other, twin)
		}
		seen[other.Fingerprint()] = other
	}
}

func TestAStormIsOfOneNameInOneNamespace(t *testing.T) {
	a := Signal{Source: "prometheus", Name: "HighMemory", Namespace: "payments", Kind: "Pod", Resource: "api-1"}
	b, c := a, a
	b.Resource, c.Namespace = "api-2", "orders"
	if a.storm() != b.storm() || a.storm() == c.storm() {
		t.Errorf("%s, %s, %s", a.storm(), b.storm(), c.storm())
	}
}

func TestAnEventIsToldAllThatIsWrong(t *testing.T) {
	_, errs := event{Type: "Error"}.signal()
	if got := names(errs); !slices.Equal(got, []string{"reason", "involvedObject.kind", "involvedObject.name", "type"}) {
		t.Error(got)
	}
}

func names(errs []problem.FieldError) []string {
	var names []string
	for _, err := range errs {
		names = append(names, err.Field)
	}
	return names
}
