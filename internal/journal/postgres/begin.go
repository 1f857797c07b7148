package postgres

import "context"

// beginTries is how often a replica that begins tries to end the leases of those
// that are gone.
const beginTries = 10

// begin ends what replicas that are gone had claimed, for one that opens the
// journal. It takes operations as they come, and not behind their shops, as the
// writers do: where it met one of them in a circle the server ended it, a second
// after it had begun to wait.
func (s *session) begin(ctx context.Context) error {
	for try := 1; ; try++ {
		if err := s.bury(ctx, true); !transient(err) || try == beginTries {
			return err
		}
	}
}
