// Package signalprocessing makes of what monitoring says what a remediation can
// begin with: normalised, enriched by what the cluster knows, classified, and
// once for each incident, however often it is said.
package signalprocessing

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Signal is one delivery of an alert or event.
type Signal struct {
	ID        string // of the incident's trail
	Source    string // who says so: prometheus, kubernetes
	Name      string // HighMemoryUsage, CrashLoopBackOff
	Severity  string // in the words of the source
	Namespace string
	Kind      string
	Object    string
	Starts    time.Time
}

// Normalize makes signals alike that mean the same. The error says all that is
// missing.
func Normalize(s Signal) (Signal, error) {
	for _, field := range []*string{&s.Source, &s.Name, &s.Severity, &s.Namespace, &s.Kind, &s.Object} {
		*field = strings.TrimSpace(*field)
	}
	for _, field := range []*string{&s.Source, &s.Severity, &s.Namespace, &s.Kind} {
		*field = strings.ToLower(*field)
	}
	var missing []string
	for name, value := range map[string]string{"name": s.Name, "namespace": s.Namespace, "kind": s.Kind, "object": s.Object} {
		if value == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return s, fmt.Errorf("signal %s has no %s", s.ID, strings.Join(missing, ", "))
	}
	return s, nil
}

// Fingerprint is the same for signals of one incident: it does not matter who
// says it, when, how badly, or of which of an owner's pods.
func Fingerprint(s Signal, c Context) string {
	object := s.Kind + "/" + s.Object
	if c.Owner != "" {
		object = c.Owner
	}
	hash := sha256.Sum256([]byte(strings.Join([]string{s.Name, s.Namespace, object}, "\x00")))
	return hex.EncodeToString(hash[:])
}
