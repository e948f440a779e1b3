// Package row reads the rows of a hall as people write them.
package row

import (
	"fmt"
	"strconv"
)

// Most is how many seats one row has at most.
const Most = 200

// Seats returns the seats of a row: "A", 3 are A1, A2 and A3.
func Seats(name string, count int) ([]string, error) {
	if len(name) != 1 || name[0] < 'A' || name[0] > 'Z' {
		return nil, fmt.Errorf("a row is a letter from A to Z, not %q", name)
	}
	if count < 1 || count > Most {
		return nil, fmt.Errorf("row %s has 1 to %d seats, not %d", name, Most, count)
	}
	seats := make([]string, count)
	for i := range seats {
		seats[i] = name + strconv.Itoa(i+1)
	}
	return seats, nil
}
