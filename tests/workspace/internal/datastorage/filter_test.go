package datastorage

import (
	"net/url"
	"reflect"
	"testing"
	"time"
)

func TestParseFilterRefuses(t *testing.T) {
	for query, field := range map[string]string{
		"limit=0":                 "limit",
		"limit=1001":              "limit",
		"offset=-1":               "offset",
		"offset=2147483648":       "offset",
		"since=2026-01-01":        "since",
		"event_category=Gateway":  "event_category",
		"event_outcome=ok":        "event_outcome",
		"event_type=a&event_type": "event_type",
		"event_type=%00":          "event_type",
		"corelation_id=c":         "corelation_id",
		"since=2026-01-01T01:00:00%2B01:00&until=2026-01-01T00:00:00Z": "until",
	} {
		t.Run(query, func(t *testing.T) {
			values, err := url.ParseQuery(query)
			if err != nil {
				t.Fatal(err)
			}
			if _, errs := parseFilter(values); len(errs) != 1 || errs[0].Field != field {
				t.Errorf("got %v, want one error for %s", errs, field)
			}
		})
	}
}

func TestParseFilterReportsAllInTheSameOrder(t *testing.T) {
	values := url.Values{"b": {""}, "a": {""}, "c": {""}, "limit": {"0"}}
	for range 20 {
		_, errs := parseFilter(values)
		var fields []string
		for _, err := range errs {
			fields = append(fields, err.Field)
		}
		if want := []string{"a", "b", "c", "limit"}; !reflect.DeepEqual(fields, want) {
			t.Fatalf("got %v, want %v", fields, want)
		}
	}
}

func TestEmptyFilterMatchesEverything(t *testing.T) {
	f, errs := parseFilter(url.Values{"event_type": {""}, "since": {""}})
	if len(errs) > 0 || f != (Filter{Limit: defaultLimit}) {
		t.Errorf("%+v, %v", f, errs)
	}
	if where, args := f.where(); where != "" || args != nil {
		t.Errorf("%q %v", where, args)
	}
}

func TestWhereNumbersItsArguments(t *testing.T) {
	since := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	where, args := Filter{CorrelationID: "' OR ''='", Outcome: "failure", Since: since}.where()
	if want := " WHERE correlation_id = $1 AND event_outcome = $2 AND event_timestamp >= $3"; where != want {
		t.Errorf("got %q, want %q", where, want)
	}
	if want := []any{"' OR ''='", "failure", since}; !reflect.DeepEqual(args, want) {
		t.Errorf("got %v, want %v", args, want)
	}
}
