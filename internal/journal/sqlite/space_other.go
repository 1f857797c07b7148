//go:build !linux

package sqlite

import "errors"

// diskFree is not supported here, so bounds on free space do not apply.
func diskFree(string) (int64, error) { return 0, errors.ErrUnsupported }
