// Package deaf_test is a case for the runner's tests: a suite that nothing but SIGKILL ends.
package deaf_test

import (
	"fmt"
	"os/signal"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func Test(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "deaf")
}

var _ = Describe("A spec", func() {
	It("takes no notice of signals for ten minutes", func() {
		// Ginkgo has asked for them when RunSpecs began: this takes them away from it.
		signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
		fmt.Println("deaf from now on")
		time.Sleep(10 * time.Minute)
	})
})
