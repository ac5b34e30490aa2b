// Package packaging is what makes the .deb and .rpm packages: "make packages"
// runs the program in build, which stages all files and calls nfpm with
// nfpm.yaml. The maintainer scripts are in deb and rpm; the tests here build
// the packages and look into them, and hold the man pages against the program.
//
// The packages are reproducible: the same commit gives the same bytes, in any
// directory, with the same release of Go.
package packaging
