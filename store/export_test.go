package store

import "context"

// Sweep is what the goroutine does from time to time.
func (s *Store) Sweep(ctx context.Context) error { return s.sweep(ctx) }
