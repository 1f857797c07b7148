package chart

import (
	"os"
	"testing"

	"invoicebox-worker/internal/testutil/cleanenv"
)

func TestMain(m *testing.M) {
	cleanenv.Use()
	os.Exit(m.Run())
}
