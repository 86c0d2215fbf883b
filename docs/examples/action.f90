! The action and the force of a field of unit links in Fortran.  Compile with gaugeflow.f90.
program action
  use, intrinsic :: iso_c_binding
  use gaugeflow
  implicit none
  integer, parameter :: volume = 4**4
  ! gaugeflow's own order from the last index of C to the first: configuration, column, row, site, direction
  complex(c_double_complex), target :: links(1, 3, 3, volume, 4), force(1, 3, 3, volume, 4)
  type(gf_field) :: u, f
  integer(gf_handle) :: wilson
  real(c_double) :: s(1)
  integer :: i

  links = 0
  do i = 1, 3
    links(:, i, i, :, :) = 1
  end do
  u%data = c_loc(links)
  u%extents(1:4) = 4
  f = u
  f%data = c_loc(force)
  call check(gf_wilson(6.0_c_double, 0.0_c_double, wilson))
  call check(gf_value(wilson, u, s))
  call check(gf_force(wilson, u, f))
  call check(gf_close(wilson))
  write (*, '(2es24.16)') s(1), maxval(abs(force))
  if (gf_close(wilson) /= gf_bad_handle) error stop 'a closed handle must be refused'

contains
  subroutine check(status)
    integer(c_int), intent(in) :: status
    if (status /= gf_ok) error stop 'gaugeflow: a call failed'
  end subroutine check
end program action
