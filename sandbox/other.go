//go:build !linux

package sandbox

import "errors"

var errNotHere = errors.New("this is not Linux")

func restrictFiles(Rules) (int, error) { return 0, errNotHere }

func noNewPrivileges() error { return errNotHere }

func restrictSystemCalls(bool) error { return errNotHere }

func become(Identity) error { return errNotHere }

func noCore() error { return errNotHere }
