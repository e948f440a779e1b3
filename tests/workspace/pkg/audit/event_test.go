package audit

import (
	"testing"
	"time"
)

func valid() Event {
	return Event{
		Version: Version, Type: "notification.message.sent", Timestamp: time.Now(), Category: "notification",
		Action: "sent", Outcome: "success", CorrelationID: "c", Data: []byte(`{}`),
	}
}

func TestValidate(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Event)
		field  string
	}{
		"valid":                     {func(*Event) {}, ""},
		"object with leading space": {func(e *Event) { e.Data = []byte(" {}") }, ""},
		"array for data":            {func(e *Event) { e.Data = []byte(`[]`) }, "event_data"},
		"null for data":             {func(e *Event) { e.Data = []byte(`null`) }, "event_data"},
		"half an object":            {func(e *Event) { e.Data = []byte(`{`) }, "event_data"},
		"NUL":                       {func(e *Event) { e.Action = "a\x00b" }, "event_action"},
		"category of nobody":        {func(e *Event) { e.Category = "Notification" }, "event_category"},
		"no timestamp":              {func(e *Event) { e.Timestamp = time.Time{} }, "event_timestamp"},
	} {
		t.Run(name, func(t *testing.T) {
			e := valid()
			test.change(&e)
			errs := e.Validate()
			switch {
			case test.field == "" && len(errs) > 0:
				t.Errorf("refused: %v", errs)
			case test.field != "" && (len(errs) != 1 || errs[0].Field != test.field):
				t.Errorf("got %v, want one error for %s", errs, test.field)
			}
		})
	}
}
