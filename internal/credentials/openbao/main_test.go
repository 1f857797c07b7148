package openbao_test

import (
	"os"
	"testing"

	"invoicebox-worker/internal/testutil/cleanenv"
)

// The servers' own variables would reach the clients of the tests.
func TestMain(m *testing.M) {
	cleanenv.Use()
	os.Exit(m.Run())
}
