// Package gateway takes alerts of Prometheus and events of Kubernetes, and has
// one remediation begun for what is one incident: repetitions are counted, and
// a storm of alerts is put together.
package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/kubernaut/workspace/pkg/problem"
)

// Signal is an alert or an event, wherever it is from.
type Signal struct {
	Source    string // prometheus, kubernetes-event
	Name      string // of the alert, or the event's reason
	Severity  string
	Namespace string // empty for what belongs to the cluster
	Kind      string
	Resource  string
	Message   string
	Resolved  bool
}

// Fingerprint is the same for signals of one incident: what happened to which
// resource. How bad it is and when may change while it lasts.
func (s Signal) Fingerprint() string { return s.fingerprint("") }

func (s Signal) fingerprint(fault Fault) string {
	parts := []string{s.Source, s.Name, s.Namespace, s.Kind, s.Resource}
	if fault == SeverityInFingerprint {
		parts = append(parts, s.Severity)
	}
	return digest(parts...)
}

// storm is the same for signals that may be one storm.
func (s Signal) storm() string { return digest(s.Source, s.Name, s.Namespace) }

func digest(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(hash.Sum(nil))[:32]
}

// webhook is the part of Alertmanager's (version 4) that is read; it has more.
type webhook struct {
	Alerts []alert `json:"alerts"`
}

type alert struct {
	Status      string            `json:"status"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// Labels that name a resource, the most exact first: an alert about a pod has
// its node's name too.
var resourceLabels = []struct{ label, kind string }{
	{"pod", "Pod"}, {"deployment", "Deployment"}, {"statefulset", "StatefulSet"}, {"daemonset", "DaemonSet"},
	{"job_name", "Job"}, {"persistentvolumeclaim", "PersistentVolumeClaim"}, {"node", "Node"},
}

var severities = []string{"critical", "warning", "info"}

// signals returns all of them, or all that is wrong.
func (w webhook) signals() ([]Signal, []problem.FieldError) {
	if len(w.Alerts) == 0 {
		return nil, []problem.FieldError{{Field: "alerts", Message: "must have at least one"}}
	}
	signals := make([]Signal, len(w.Alerts))
	var errs []problem.FieldError
	for i, a := range w.Alerts {
		signal, wrong := a.signal()
		signals[i] = signal
		for _, err := range wrong {
			errs = append(errs, problem.FieldError{Field: fmt.Sprintf("alerts[%d].%s", i, err.Field), Message: err.Message})
		}
	}
	return signals, errs
}

func (a alert) signal() (Signal, []problem.FieldError) {
	signal := Signal{
		Source: "prometheus", Name: a.Labels["alertname"], Severity: a.Labels["severity"], Namespace: a.Labels["namespace"],
		Message: a.Annotations["summary"], Resolved: a.Status == "resolved",
	}
	for _, l := range resourceLabels {
		if name := a.Labels[l.label]; name != "" {
			signal.Kind, signal.Resource = l.kind, name
			break
		}
	}
	if signal.Severity == "" {
		signal.Severity = "warning"
	}
	var errs []problem.FieldError
	add := func(wrong bool, field, message string) {
		if wrong {
			errs = append(errs, problem.FieldError{Field: field, Message: message})
		}
	}
	add(a.Status != "firing" && a.Status != "resolved", "status", "must be one of firing, resolved")
	add(signal.Name == "", "labels.alertname", "is required")
	add(!slices.Contains(severities, signal.Severity), "labels.severity", "must be one of "+strings.Join(severities, ", "))
	add(signal.Resource == "", "labels", "must name a resource: a pod, a deployment, a node for example")
	return signal, errs
}

// event is the part of a Kubernetes Event that is read.
type event struct {
	Type           string `json:"type"`
	Reason         string `json:"reason"`
	Message        string `json:"message"`
	InvolvedObject struct {
		Kind      string `json:"kind"`
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"involvedObject"`
}

// normal says that nothing is wrong.
func (e event) normal() bool { return e.Type == "Normal" }

func (e event) signal() (Signal, []problem.FieldError) {
	var errs []problem.FieldError
	for _, required := range [][2]string{{"reason", e.Reason}, {"involvedObject.kind", e.InvolvedObject.Kind}, {"involvedObject.name", e.InvolvedObject.Name}} {
		if required[1] == "" {
			errs = append(errs, problem.FieldError{Field: required[0], Message: "is required"})
		}
	}
	if e.Type != "Warning" && !e.normal() {
		errs = append(errs, problem.FieldError{Field: "type", Message: "must be one of Normal, Warning"})
	}
	return Signal{
		Source: "kubernetes-event", Name: e.Reason, Severity: "warning", Message: e.Message,
		Namespace: e.InvolvedObject.Namespace, Kind: e.InvolvedObject.Kind, Resource: e.InvolvedObject.Name,
	}, errs
}
