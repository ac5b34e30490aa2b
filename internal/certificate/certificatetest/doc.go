// Package certificatetest makes certificates for tests: an authority that signs
// them, and their files.
package certificatetest
