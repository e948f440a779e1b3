package row

import (
	"slices"
	"testing"
)

func TestSeatsOfARow(t *testing.T) {
	seats, err := Seats("B", 3)
	if err != nil || !slices.Equal(seats, []string{"B1", "B2", "B3"}) {
		t.Fatalf("B with three seats is %v, %v", seats, err)
	}
}

func TestRowsThatAreNone(t *testing.T) {
	for _, one := range []struct {
		name  string
		count int
	}{{"", 3}, {"a", 3}, {"AB", 3}, {"A", 0}, {"A", Most + 1}} {
		if seats, err := Seats(one.name, one.count); err == nil {
			t.Errorf("%q with %d seats is taken as %v", one.name, one.count, seats)
		}
	}
}
